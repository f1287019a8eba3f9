#include <openssl/pem.h>

#include <utility>

#include "common/crypto/certificate.h"
#include "common/crypto/openssl.h"

namespace tributary::crypto {
namespace {

using openssl::InternalStatus;
using openssl::InvalidStatus;

constexpr size_t kMaxBytes = 64u << 10;

using X509RequestPtr =
    std::unique_ptr<X509_REQ, openssl::Deleter<X509_REQ_free>>;

}  // namespace

StatusOr<SigningRequest> SigningRequest::FromHandle(
    std::shared_ptr<X509_req_st> request) {
  openssl::PkeyPtr key(X509_REQ_get_pubkey(request.get()));
  if (key == nullptr) {
    return InvalidStatus("signing request: malformed public key");
  }
  StatusOr<PublicKey> public_key = PublicKey::FromHandle(std::move(key));
  if (!public_key.ok()) {
    return Annotate(public_key.status(), "signing request");
  }
  if (X509_REQ_verify(request.get(), public_key->handle()) != 1) {
    return InvalidStatus("signing request: its own signature does not hold");
  }
  return SigningRequest(std::move(request), *std::move(public_key));
}

StatusOr<SigningRequest> SigningRequest::Create(
    const PrivateKey& key, const std::string& common_name) {
  X509RequestPtr request(X509_REQ_new());
  if (request == nullptr || X509_REQ_set_version(request.get(), 0) != 1 ||
      X509_REQ_set_pubkey(request.get(), key.handle()) != 1) {
    return InternalStatus("making a signing request");
  }
  X509_NAME* subject = X509_REQ_get_subject_name(request.get());
  if (X509_NAME_add_entry_by_NID(
          subject, NID_commonName, MBSTRING_UTF8, openssl::Data(common_name),
          static_cast<int>(common_name.size()), -1, 0) != 1) {
    return InvalidStatus("signing request: common name");
  }
  if (X509_REQ_sign(request.get(), key.handle(), EVP_sha256()) == 0) {
    return InternalStatus("signing a signing request");
  }
  return FromHandle(std::move(request));
}

StatusOr<SigningRequest> SigningRequest::FromPem(std::string_view pem) {
  if (pem.size() > kMaxBytes) {
    return InvalidArgument("signing request: got {} bytes, wanted at most {}",
                           pem.size(), kMaxBytes);
  }
  const openssl::BioPtr bio = openssl::ReadBio(pem);
  X509RequestPtr request(PEM_read_bio_X509_REQ(bio.get(), nullptr,
                                               openssl::NoPassPhrase, nullptr));
  if (request == nullptr) {
    return InvalidStatus("signing request: not a PEM PKCS #10 request");
  }
  return FromHandle(std::move(request));
}

std::string SigningRequest::ToPem() const {
  const openssl::BioPtr bio = openssl::WriteBio();
  PEM_write_bio_X509_REQ(bio.get(), request_.get());
  return openssl::Contents(bio.get());
}

}  // namespace tributary::crypto
