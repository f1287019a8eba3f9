#pragma once

// The one place that turns OpenSSL's error queue into a Status, and owners for
// its objects. For the sources of this folder only.

#include <openssl/bio.h>
#include <openssl/evp.h>
#include <openssl/x509.h>

#include <memory>
#include <string>
#include <string_view>

#include "common/base/status.h"

namespace tributary::crypto::openssl {

// The reasons in OpenSSL's error queue, oldest first; empties the queue.
std::string TakeErrors();

// INTERNAL: `what` failed, with the queue's reasons.
Status InternalStatus(std::string_view what);
// INVALID_ARGUMENT: `what`, with the queue's reasons.
Status InvalidStatus(std::string_view what);

template <auto Function>
struct Deleter {
  template <typename T>
  void operator()(T* object) const {
    Function(object);
  }
};
using BioPtr = std::unique_ptr<BIO, Deleter<BIO_free_all>>;
using PkeyPtr = std::unique_ptr<EVP_PKEY, Deleter<EVP_PKEY_free>>;
using PkeyContextPtr =
    std::unique_ptr<EVP_PKEY_CTX, Deleter<EVP_PKEY_CTX_free>>;
using MdContextPtr = std::unique_ptr<EVP_MD_CTX, Deleter<EVP_MD_CTX_free>>;

// Reads from `text`, which outlives the result.
BioPtr ReadBio(std::string_view text);
// Grows as it is written to.
BioPtr WriteBio();
// What was written to it.
std::string Contents(BIO* bio);

// The DER of an object whose i2d function is `Encode`.
template <auto Encode, typename T>
std::string ToDer(const T* object) {
  unsigned char* bytes = nullptr;
  const int size = Encode(object, &bytes);
  if (size < 0) {
    return {};
  }
  std::string der(reinterpret_cast<const char*>(bytes),
                  static_cast<size_t>(size));
  OPENSSL_free(bytes);
  return der;
}

// For PEM readers: encrypted texts fail instead of asking the terminal.
int NoPassPhrase(char* buffer, int size, int writing, void* data);

// Bytes as OpenSSL's functions take them.
inline const unsigned char* Data(std::string_view bytes) {
  return reinterpret_cast<const unsigned char*>(bytes.data());
}

}  // namespace tributary::crypto::openssl
