#include "common/crypto/key.h"

#include <openssl/ec.h>
#include <openssl/pem.h>
#include <sys/stat.h>

#include <cerrno>
#include <utility>

#include "common/base/files.h"
#include "common/crypto/digest.h"
#include "common/crypto/openssl.h"

namespace tributary::crypto {
namespace {

using openssl::InternalStatus;
using openssl::InvalidStatus;

constexpr size_t kMaxPemBytes = 64u << 10;

bool IsP256(const EVP_PKEY* key) {
  char group[32];
  size_t size = 0;
  return EVP_PKEY_is_a(key, "EC") == 1 &&
         EVP_PKEY_get_group_name(key, group, sizeof(group), &size) == 1 &&
         std::string_view(group, size) == SN_X9_62_prime256v1;
}

Status CheckP256(const EVP_PKEY* key) {
  if (!IsP256(key)) {
    openssl::TakeErrors();
    const char* type = EVP_PKEY_get0_type_name(key);
    return InvalidArgument("key: got type {}, wanted an EC key on P-256",
                           type != nullptr ? type : "unknown");
  }
  return absl::OkStatus();
}

Status CheckPemSize(std::string_view pem) {
  if (pem.size() > kMaxPemBytes) {
    return InvalidArgument("key: got {} bytes of PEM, wanted at most {}",
                           pem.size(), kMaxPemBytes);
  }
  return absl::OkStatus();
}

}  // namespace

PublicKey::PublicKey(std::shared_ptr<evp_pkey_st> key, std::string der)
    : key_(std::move(key)),
      der_(std::move(der)),
      key_id_("sha256:" + Sha256Hex(der_)) {}

StatusOr<PublicKey> PublicKey::FromHandle(std::shared_ptr<evp_pkey_st> key) {
  RETURN_IF_ERROR(CheckP256(key.get()));
  std::string der = openssl::ToDer<i2d_PUBKEY>(key.get());
  if (der.empty()) {
    return InternalStatus("encoding a public key");
  }
  return PublicKey(std::move(key), std::move(der));
}

StatusOr<PublicKey> PublicKey::FromPem(std::string_view pem) {
  RETURN_IF_ERROR(CheckPemSize(pem));
  const openssl::BioPtr bio = openssl::ReadBio(pem);
  openssl::PkeyPtr key(
      PEM_read_bio_PUBKEY(bio.get(), nullptr, openssl::NoPassPhrase, nullptr));
  if (key == nullptr) {
    return InvalidStatus("public key: not a PEM public key");
  }
  return FromHandle(std::move(key));
}

StatusOr<PublicKey> PublicKey::FromDer(std::string_view der) {
  const unsigned char* position = openssl::Data(der);
  openssl::PkeyPtr key(
      d2i_PUBKEY(nullptr, &position, static_cast<long>(der.size())));
  if (key == nullptr || position != openssl::Data(der) + der.size()) {
    return InvalidStatus("public key: not a DER SubjectPublicKeyInfo");
  }
  return FromHandle(std::move(key));
}

std::string PublicKey::ToPem() const {
  const openssl::BioPtr bio = openssl::WriteBio();
  PEM_write_bio_PUBKEY(bio.get(), key_.get());
  return openssl::Contents(bio.get());
}

Status PublicKey::Verify(std::string_view message,
                         std::string_view signature) const {
  const openssl::MdContextPtr context(EVP_MD_CTX_new());
  if (context == nullptr ||
      EVP_DigestVerifyInit(context.get(), nullptr, EVP_sha256(), nullptr,
                           key_.get()) != 1) {
    return InternalStatus("preparing to verify a signature");
  }
  const int result = EVP_DigestVerify(context.get(), openssl::Data(signature),
                                      signature.size(), openssl::Data(message),
                                      message.size());
  openssl::TakeErrors();
  if (result != 1) {
    return Unauthenticated("the signature of key {} does not hold", key_id_);
  }
  return absl::OkStatus();
}

StatusOr<PrivateKey> PrivateKey::FromHandle(std::shared_ptr<evp_pkey_st> key) {
  RETURN_IF_ERROR(CheckP256(key.get()));
  // The public half on its own, so that it may go anywhere.
  const std::string der = openssl::ToDer<i2d_PUBKEY>(key.get());
  ASSIGN_OR_RETURN(PublicKey public_key, PublicKey::FromDer(der));
  return PrivateKey(std::move(key), std::move(public_key));
}

StatusOr<PrivateKey> PrivateKey::Generate() {
  openssl::PkeyPtr key(EVP_EC_gen("P-256"));
  if (key == nullptr) {
    return InternalStatus("generating a P-256 key");
  }
  return FromHandle(std::move(key));
}

StatusOr<PrivateKey> PrivateKey::FromPem(std::string_view pem) {
  RETURN_IF_ERROR(CheckPemSize(pem));
  const openssl::BioPtr bio = openssl::ReadBio(pem);
  openssl::PkeyPtr key(PEM_read_bio_PrivateKey(bio.get(), nullptr,
                                               openssl::NoPassPhrase, nullptr));
  if (key == nullptr) {
    return InvalidStatus("private key: not an unencrypted PEM private key");
  }
  RETURN_IF_ERROR(CheckP256(key.get()));
  const openssl::PkeyContextPtr context(
      EVP_PKEY_CTX_new_from_pkey(nullptr, key.get(), nullptr));
  if (context == nullptr || EVP_PKEY_pairwise_check(context.get()) != 1) {
    return InvalidStatus("private key: its two halves do not match");
  }
  return FromHandle(std::move(key));
}

StatusOr<PrivateKey> PrivateKey::Load(const std::filesystem::path& path) {
  struct stat status;
  if (stat(path.c_str(), &status) != 0) {
    return ErrnoStatus(errno, "private key " + path.string());
  }
  if ((status.st_mode & 077) != 0) {
    return PermissionDenied(
        "private key {}: got mode {:04o}, wanted 0600; run chmod 600 on it",
        path.string(), status.st_mode & 07777);
  }
  ASSIGN_OR_RETURN(const std::string pem, ReadFile(path, kMaxPemBytes));
  StatusOr<PrivateKey> key = FromPem(pem);
  if (!key.ok()) {
    return Annotate(key.status(), path.string());
  }
  return key;
}

std::string PrivateKey::ToPem() const {
  const openssl::BioPtr bio = openssl::WriteBio();
  PEM_write_bio_PKCS8PrivateKey(bio.get(), key_.get(), nullptr, nullptr, 0,
                                nullptr, nullptr);
  return openssl::Contents(bio.get());
}

Status PrivateKey::Save(const std::filesystem::path& path) const {
  const std::string pem = ToPem();
  if (pem.empty()) {
    return InternalStatus("encoding a private key");
  }
  return WriteFileAtomic(path, pem, 0600);
}

StatusOr<std::string> PrivateKey::Sign(std::string_view message) const {
  const openssl::MdContextPtr context(EVP_MD_CTX_new());
  size_t size = 0;
  if (context == nullptr ||
      EVP_DigestSignInit(context.get(), nullptr, EVP_sha256(), nullptr,
                         key_.get()) != 1 ||
      EVP_DigestSign(context.get(), nullptr, &size, openssl::Data(message),
                     message.size()) != 1) {
    return InternalStatus("preparing to sign");
  }
  std::string signature(size, '\0');
  if (EVP_DigestSign(context.get(),
                     reinterpret_cast<unsigned char*>(signature.data()), &size,
                     openssl::Data(message), message.size()) != 1) {
    return InternalStatus("signing");
  }
  signature.resize(size);
  return signature;
}

}  // namespace tributary::crypto
