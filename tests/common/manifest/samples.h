#pragma once

// Complete, valid objects for the tests of this folder, and a way to break
// them one field at a time.

#include <string>
#include <string_view>

#include "common/base/status.h"
#include "common/manifest/anchor_manifest.h"
#include "common/manifest/expert_manifest.h"
#include "common/manifest/receipts.h"
#include "common/manifest/release_manifest.h"

namespace tributary::manifest {

// 64 times the digit.
std::string Hex(char digit);

AnchorManifest SampleAnchor();
ExpertManifest SampleExpert();
ReleaseManifest SampleRelease();
WithdrawalReceipt SampleWithdrawal();
PurgeReceipt SamplePurge();

// `json` with the value at `pointer` (RFC 6901) replaced by `value_json`, or
// added, or removed when that is empty; canonical.
std::string Edit(std::string_view json, std::string_view pointer,
                 std::string_view value_json);

// A change that must be refused, and what the message must hold.
struct BadEdit {
  const char* pointer;
  const char* value_json;
  const char* message;
};

// Expects that T reads `json` back to the same bytes, and refuses each edit
// with INVALID_ARGUMENT.
template <typename T>
void ExpectStrict(const T& value, std::initializer_list<BadEdit> edits);

}  // namespace tributary::manifest

#include "tests/common/manifest/samples_inl.h"
