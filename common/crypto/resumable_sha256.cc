// The low-level interface is what exposes the state; OpenSSL 3 marks it as
// deprecated in favour of EVP, which does not.
#define OPENSSL_SUPPRESS_DEPRECATED

#include "common/crypto/resumable_sha256.h"

#include <openssl/sha.h>

#include <array>
#include <cstring>

#include "common/base/text.h"
#include "common/crypto/base64.h"

namespace tributary::crypto {
namespace {

constexpr size_t kBlockBytes = SHA256_CBLOCK;
constexpr size_t kWords = 8;
// Eight words, the size, one block of bytes that wait, a check.
constexpr size_t kSavedBytes = 4 * kWords + 8 + kBlockBytes + 16;

SHA256_CTX* Context(unsigned char* state) {
  return reinterpret_cast<SHA256_CTX*>(state);
}

void Put(uint64_t value, size_t bytes, std::string& out) {
  for (size_t i = bytes; i-- > 0;) {
    out += static_cast<char>((value >> (8 * i)) & 0xff);
  }
}

uint64_t Take(std::string_view bytes) {
  uint64_t value = 0;
  for (const char byte : bytes) {
    value = value << 8 | static_cast<unsigned char>(byte);
  }
  return value;
}

// Tells a state that was cut or mixed up with another.
std::string CheckOf(std::string_view saved) {
  std::array<unsigned char, SHA256_DIGEST_LENGTH> digest = {};
  SHA256(reinterpret_cast<const unsigned char*>(saved.data()), saved.size(),
         digest.data());
  return std::string(reinterpret_cast<const char*>(digest.data()), 16);
}

}  // namespace

static_assert(sizeof(SHA256_CTX) <= 112 && alignof(SHA256_CTX) <= 8);

ResumableSha256::ResumableSha256() { SHA256_Init(Context(state_)); }

void ResumableSha256::Update(std::string_view bytes) {
  SHA256_Update(Context(state_), bytes.data(), bytes.size());
  size_ += bytes.size();
}

std::string ResumableSha256::Hex() const {
  ResumableSha256 copy = *this;
  std::string digest(SHA256_DIGEST_LENGTH, '\0');
  SHA256_Final(reinterpret_cast<unsigned char*>(digest.data()),
               Context(copy.state_));
  return ToHex(digest);
}

std::string ResumableSha256::Save() const {
  ResumableSha256 copy = *this;
  const SHA256_CTX& context = *Context(copy.state_);
  std::string saved;
  for (const SHA_LONG word : context.h) {
    Put(word, 4, saved);
  }
  Put(size_, 8, saved);
  std::string waiting(reinterpret_cast<const char*>(context.data),
                      size_ % kBlockBytes);
  waiting.resize(kBlockBytes, '\0');
  saved += waiting;
  return EncodeBase64(saved + CheckOf(saved));
}

StatusOr<ResumableSha256> ResumableSha256::Restore(std::string_view state) {
  const StatusOr<std::string> saved = DecodeBase64(state);
  if (!saved.ok() || saved->size() != kSavedBytes ||
      CheckOf(saved->substr(0, kSavedBytes - 16)) !=
          saved->substr(kSavedBytes - 16)) {
    return InvalidArgument(
        "hash state: got {} characters that are no saved state", state.size());
  }
  ResumableSha256 hash;
  SHA256_CTX& context = *Context(hash.state_);
  for (size_t i = 0; i < kWords; ++i) {
    context.h[i] = static_cast<SHA_LONG>(Take(saved->substr(4 * i, 4)));
  }
  hash.size_ = Take(saved->substr(4 * kWords, 8));
  const uint64_t bits = hash.size_ * 8;
  context.Nl = static_cast<SHA_LONG>(bits);
  context.Nh = static_cast<SHA_LONG>(bits >> 32);
  context.num = static_cast<unsigned>(hash.size_ % kBlockBytes);
  std::memcpy(context.data, saved->data() + 4 * kWords + 8, context.num);
  return hash;
}

}  // namespace tributary::crypto
