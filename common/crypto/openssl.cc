#include "common/crypto/openssl.h"

#include <openssl/crypto.h>
#include <openssl/err.h>

namespace tributary::crypto::openssl {

namespace {
// At exit OpenSSL frees what its threads share, and gRPC's threads may be amid
// a handshake then: they would go on with freed memory. The kernel takes it back
// as well. Counts only as the first call into OpenSSL, so before main.
[[maybe_unused]] const int kLeaveForExit =
    OPENSSL_init_crypto(OPENSSL_INIT_NO_ATEXIT, nullptr);
}  // namespace

std::string TakeErrors() {
  std::string text;
  while (const unsigned long code = ERR_get_error()) {
    const char* reason = ERR_reason_error_string(code);
    if (!text.empty()) {
      text += "; ";
    }
    text += reason != nullptr ? reason : fmt::format("error {:#x}", code);
  }
  return text;
}

namespace {
std::string WithErrors(std::string_view what) {
  const std::string errors = TakeErrors();
  return errors.empty() ? std::string(what)
                        : fmt::format("{}: {}", what, errors);
}
}  // namespace

Status InternalStatus(std::string_view what) {
  return absl::InternalError(WithErrors(what));
}

Status InvalidStatus(std::string_view what) {
  return absl::InvalidArgumentError(WithErrors(what));
}

BioPtr ReadBio(std::string_view text) {
  return BioPtr(BIO_new_mem_buf(text.data(), static_cast<int>(text.size())));
}

BioPtr WriteBio() { return BioPtr(BIO_new(BIO_s_mem())); }

std::string Contents(BIO* bio) {
  char* data = nullptr;
  const long size = BIO_get_mem_data(bio, &data);
  return std::string(data, static_cast<size_t>(size));
}

int NoPassPhrase(char*, int, int, void*) { return -1; }

}  // namespace tributary::crypto::openssl
