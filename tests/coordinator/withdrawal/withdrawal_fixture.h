#pragma once

// A federation with an anchor and three owners, alice, bob and carol.

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

#include "tests/coordinator/service/test_federation.h"

namespace tributary::coordinator {

class WithdrawalTest : public testing::Test {
 protected:
  void SetUp() override { Start({}); }

  void Start(const Settings& settings) {
    auto federation = TestFederation::Create(settings);
    ASSERT_TRUE(federation.ok()) << federation.status();
    federation_ = *std::move(federation);
    ASSERT_TRUE(federation_->PublishAnchor().ok());
    owners_.clear();
    for (const char* id : {"alice", "bob", "carol"}) {
      auto owner = federation_->Enrol(id);
      ASSERT_TRUE(owner.ok()) << owner.status();
      owners_.push_back(*std::move(owner));
    }
  }

  // The expert of owner `i`: the same bytes in every federation.
  void Contribute(size_t i) {
    const Status status = federation_->ContributeAndAdmit(
        owners_[i], owners_[i].id, static_cast<int>(i));
    ASSERT_TRUE(status.ok()) << status;
  }

  v1::Release Latest() {
    const auto release = federation_->GetRelease(owners_[0], "releases/latest");
    return release.ok() ? *release : v1::Release();
  }

  std::string ReadBlob(const std::string& name) {
    return Download(*owners_[0].stubs, name).value_or("missing");
  }

  std::unique_ptr<TestFederation> federation_;
  std::vector<Owner> owners_;
};

}  // namespace tributary::coordinator
