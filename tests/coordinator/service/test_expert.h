#pragma once

#include <filesystem>
#include <string>

#include "common/base/status.h"
#include "common/crypto/key.h"
#include "common/manifest/anchor_manifest.h"
#include "tests/coordinator/service/test_federation.h"

namespace tributary::coordinator {

struct TestExpertOptions {
  std::string federation;
  std::string contributor;
  std::string contribution;
  int seed = 0;
};

// A well-formed expert of one block's width with values from `seed`, its file
// written to `folder`/<contribution>.safetensors.
StatusOr<TestExpert> MakeTestExpert(const manifest::AnchorManifest& anchor,
                                    const std::filesystem::path& folder,
                                    const TestExpertOptions& options,
                                    const crypto::PrivateKey& key);

}  // namespace tributary::coordinator
