#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <optional>
#include <string>

#include "common/base/random.h"
#include "tests/coordinator/service/test_federation.h"

namespace tributary::coordinator {

// A federation with an anchor and one data owner, alice.
class ContributionTest : public testing::Test {
 protected:
  void SetUp() override { Start({}); }

  void Start(const Settings& settings) {
    auto federation = TestFederation::Create(settings);
    ASSERT_TRUE(federation.ok()) << federation.status();
    federation_ = *std::move(federation);
    auto digest = federation_->PublishAnchor();
    ASSERT_TRUE(digest.ok()) << digest.status();
    anchor_digest_ = *digest;
    auto alice = federation_->Enrol("alice");
    ASSERT_TRUE(alice.ok()) << alice.status();
    alice_.emplace(*std::move(alice));
  }

  StatusOr<v1::Contribution> Create(const Owner& owner,
                                    const std::string& envelope,
                                    const std::string& request_id,
                                    bool validate_only = false) {
    v1::CreateContributionRequest request;
    request.set_request_id(request_id);
    request.set_manifest_envelope_json(envelope);
    request.set_validate_only(validate_only);
    return Call<v1::Contribution>(
        *owner.stubs->contributions,
        &v1::ContributionService::Stub::CreateContribution, request);
  }

  StatusOr<v1::Contribution> Decide(const std::string& id,
                                    v1::Decision::Outcome outcome,
                                    const std::string& reason) {
    v1::DecideContributionRequest request;
    request.set_request_id(RandomUuid());
    request.set_name("contributions/" + id);
    request.set_outcome(outcome);
    request.set_reason(reason);
    return Call<v1::Contribution>(*federation_->operator_stubs().admin,
                                  &v1::AdminService::Stub::DecideContribution,
                                  request);
  }

  v1::Contribution::State StateOf(const std::string& id) {
    const auto contribution = federation_->GetContribution(*alice_, id);
    return contribution.ok() ? contribution->state()
                             : v1::Contribution::STATE_UNSPECIFIED;
  }

  std::unique_ptr<TestFederation> federation_;
  std::string anchor_digest_;
  std::optional<Owner> alice_;
};

}  // namespace tributary::coordinator
