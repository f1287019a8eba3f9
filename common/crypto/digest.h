#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "common/base/cancellation.h"
#include "common/base/status.h"

struct evp_md_ctx_st;

namespace tributary::crypto {

// SHA-256 (FIPS 180-4) of bytes that arrive in pieces.
class Sha256 {
 public:
  Sha256();
  Sha256(const Sha256& other);  // goes on from the same state
  Sha256(Sha256&& other) noexcept;
  Sha256& operator=(Sha256 other) noexcept;
  ~Sha256();

  void Update(std::string_view bytes);
  void Update(std::span<const std::byte> bytes);

  // The digest of everything so far, 64 lower-case hexadecimal digits. Does
  // not end the object: more may follow.
  std::string Hex() const;
  // The same as 32 bytes.
  std::string Bytes() const;
  // Bytes taken in so far.
  uint64_t size() const { return size_; }

 private:
  struct Free {
    void operator()(evp_md_ctx_st* context) const;
  };
  std::unique_ptr<evp_md_ctx_st, Free> context_;
  uint64_t size_ = 0;
};

// The digest of `bytes`: 64 lower-case hexadecimal digits.
std::string Sha256Hex(std::string_view bytes);

// True for 64 lower-case hexadecimal digits.
bool IsSha256Hex(std::string_view text);

struct FileDigest {
  std::string sha256;  // hexadecimal
  uint64_t size = 0;   // bytes
};

// Reads a file in pieces of 1 MiB. NOT_FOUND when there is none, CANCELLED
// when `cancellation` is set meanwhile (null: never).
StatusOr<FileDigest> DigestFile(
    const std::filesystem::path& path,
    const CancellationToken* cancellation = nullptr);

// The state after the first `size` bytes of a file, so that hashing an upload
// goes on after a restart. DATA_LOSS when the file is shorter.
StatusOr<Sha256> DigestFilePrefix(const std::filesystem::path& path,
                                  uint64_t size);

}  // namespace tributary::crypto
