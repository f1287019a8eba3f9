#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "common/base/status.h"

namespace tributary::crypto {

// SHA-256 whose state can be put away and taken up again by another process,
// so that going on with a large file does not read it again. (OpenSSL's EVP
// interface keeps its state to itself; this uses the older one below it.)
class ResumableSha256 {
 public:
  ResumableSha256();

  void Update(std::string_view bytes);
  // Bytes taken in so far.
  uint64_t size() const { return size_; }
  // The digest of everything so far, 64 lower-case hexadecimal digits. More may
  // follow.
  std::string Hex() const;

  // The state as text: 160 characters of base64.
  std::string Save() const;
  // Goes on from a saved state. INVALID_ARGUMENT when it is malformed.
  static StatusOr<ResumableSha256> Restore(std::string_view state);

 private:
  // Large enough for OpenSSL's SHA256_CTX.
  static constexpr size_t kStateBytes = 112;
  alignas(8) unsigned char state_[kStateBytes] = {};
  uint64_t size_ = 0;
};

}  // namespace tributary::crypto
