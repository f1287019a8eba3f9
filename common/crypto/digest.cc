#include "common/crypto/digest.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <vector>

#include "common/base/files.h"
#include "common/base/text.h"
#include "common/crypto/openssl.h"

namespace tributary::crypto {
namespace {

constexpr size_t kPieceBytes = 1 << 20;

// Without a working SHA-256 nothing here can be trusted: a broken OpenSSL
// installation ends the process.
void Require(bool ok) {
  if (!ok) {
    std::abort();
  }
}

// Feeds at most `limit` bytes of a file to `hash`.
Status UpdateFromFile(const std::filesystem::path& path, uint64_t limit,
                      const CancellationToken* cancellation, Sha256& hash) {
  ASSIGN_OR_RETURN(const FileDescriptor file, OpenFile(path, O_RDONLY));
  std::vector<char> buffer(kPieceBytes);
  while (hash.size() < limit) {
    if (cancellation != nullptr) {
      RETURN_IF_ERROR(cancellation->Check());
    }
    const size_t wanted = static_cast<size_t>(
        std::min<uint64_t>(buffer.size(), limit - hash.size()));
    const ssize_t got = read(file.get(), buffer.data(), wanted);
    if (got < 0) {
      if (errno == EINTR) {
        continue;
      }
      return ErrnoStatus(errno, "reading " + path.string());
    }
    if (got == 0) {
      break;
    }
    hash.Update(std::string_view(buffer.data(), static_cast<size_t>(got)));
  }
  return absl::OkStatus();
}

}  // namespace

void Sha256::Free::operator()(evp_md_ctx_st* context) const {
  EVP_MD_CTX_free(context);
}

Sha256::Sha256() : context_(EVP_MD_CTX_new()) {
  Require(context_ != nullptr &&
          EVP_DigestInit_ex(context_.get(), EVP_sha256(), nullptr) == 1);
}

Sha256::Sha256(const Sha256& other)
    : context_(EVP_MD_CTX_new()), size_(other.size_) {
  Require(context_ != nullptr &&
          EVP_MD_CTX_copy_ex(context_.get(), other.context_.get()) == 1);
}

Sha256::Sha256(Sha256&& other) noexcept = default;

Sha256& Sha256::operator=(Sha256 other) noexcept {
  context_ = std::move(other.context_);
  size_ = other.size_;
  return *this;
}

Sha256::~Sha256() = default;

void Sha256::Update(std::string_view bytes) {
  Require(EVP_DigestUpdate(context_.get(), bytes.data(), bytes.size()) == 1);
  size_ += bytes.size();
}

void Sha256::Update(std::span<const std::byte> bytes) {
  Update(std::string_view(reinterpret_cast<const char*>(bytes.data()),
                          bytes.size()));
}

std::string Sha256::Bytes() const {
  const Sha256 copy(*this);
  std::string digest(32, '\0');
  unsigned size = 0;
  Require(EVP_DigestFinal_ex(copy.context_.get(),
                             reinterpret_cast<unsigned char*>(digest.data()),
                             &size) == 1 &&
          size == digest.size());
  return digest;
}

std::string Sha256::Hex() const { return ToHex(Bytes()); }

std::string Sha256Hex(std::string_view bytes) {
  Sha256 hash;
  hash.Update(bytes);
  return hash.Hex();
}

bool IsSha256Hex(std::string_view text) {
  return text.size() == 64 && std::all_of(text.begin(), text.end(), [](char c) {
           return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f');
         });
}

StatusOr<FileDigest> DigestFile(const std::filesystem::path& path,
                                const CancellationToken* cancellation) {
  Sha256 hash;
  RETURN_IF_ERROR(UpdateFromFile(path, UINT64_MAX, cancellation, hash));
  return FileDigest{.sha256 = hash.Hex(), .size = hash.size()};
}

StatusOr<Sha256> DigestFilePrefix(const std::filesystem::path& path,
                                  uint64_t size) {
  Sha256 hash;
  RETURN_IF_ERROR(UpdateFromFile(path, size, nullptr, hash));
  if (hash.size() != size) {
    return DataLoss("{}: got {} bytes, wanted at least {}", path.string(),
                    hash.size(), size);
  }
  return hash;
}

}  // namespace tributary::crypto
