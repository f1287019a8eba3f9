#include "common/crypto/certificate.h"

#include <arpa/inet.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include <ctime>
#include <utility>

#include "common/base/files.h"
#include "common/base/text.h"
#include "common/crypto/digest.h"
#include "common/crypto/openssl.h"

namespace tributary::crypto {
namespace {

using openssl::InternalStatus;
using openssl::InvalidStatus;

constexpr size_t kMaxBytes = 64u << 10;

using X509Ptr = std::unique_ptr<X509, openssl::Deleter<X509_free>>;
using X509StorePtr =
    std::unique_ptr<X509_STORE, openssl::Deleter<X509_STORE_free>>;
using X509StoreContextPtr =
    std::unique_ptr<X509_STORE_CTX, openssl::Deleter<X509_STORE_CTX_free>>;
using GeneralNamesPtr =
    std::unique_ptr<GENERAL_NAMES, openssl::Deleter<GENERAL_NAMES_free>>;
using BigNumberPtr = std::unique_ptr<BIGNUM, openssl::Deleter<BN_free>>;

Status CheckSize(std::string_view what, size_t bytes) {
  if (bytes > kMaxBytes) {
    return InvalidArgument("{}: got {} bytes, wanted at most {}", what, bytes,
                           kMaxBytes);
  }
  return absl::OkStatus();
}

std::string Text(const ASN1_STRING* value) {
  return std::string(
      reinterpret_cast<const char*>(ASN1_STRING_get0_data(value)),
      static_cast<size_t>(ASN1_STRING_length(value)));
}

StatusOr<int64_t> Seconds(const ASN1_TIME* time) {
  std::tm parts = {};
  if (ASN1_TIME_to_tm(time, &parts) != 1) {
    return InvalidStatus("certificate: malformed validity");
  }
  return static_cast<int64_t>(timegm(&parts));
}

std::string Serial(const X509* certificate) {
  const BigNumberPtr number(
      ASN1_INTEGER_to_BN(X509_get0_serialNumber(certificate), nullptr));
  std::string bytes(static_cast<size_t>(BN_num_bytes(number.get())), '\0');
  BN_bn2bin(number.get(), reinterpret_cast<unsigned char*>(bytes.data()));
  std::string hex = ToHex(bytes);
  hex.erase(0, std::min(hex.find_first_not_of('0'), hex.size()));
  return hex.empty() ? "0" : hex;
}

StatusOr<std::string> IpText(const ASN1_OCTET_STRING* value) {
  char text[INET6_ADDRSTRLEN];
  const int size = ASN1_STRING_length(value);
  if ((size != 4 && size != 16) ||
      inet_ntop(size == 4 ? AF_INET : AF_INET6, ASN1_STRING_get0_data(value),
                text, sizeof(text)) == nullptr) {
    return InvalidArgument(
        "certificate: got an IP address of {} bytes, wanted 4 or 16", size);
  }
  return std::string(text);
}

int Purpose(KeyUsage usage) {
  switch (usage) {
    case KeyUsage::kClient:
      return X509_PURPOSE_SSL_CLIENT;
    case KeyUsage::kServer:
      return X509_PURPOSE_SSL_SERVER;
    case KeyUsage::kAny:
      break;
  }
  return X509_PURPOSE_ANY;
}

}  // namespace

StatusOr<Certificate> Certificate::FromHandle(
    std::shared_ptr<x509_st> certificate) {
  X509* x509 = certificate.get();
  // Owned by the certificate, so that the handle keeps it alive.
  std::shared_ptr<evp_pkey_st> key(certificate, X509_get0_pubkey(x509));
  if (key.get() == nullptr) {
    return InvalidStatus("certificate: malformed public key");
  }
  ASSIGN_OR_RETURN(PublicKey public_key, PublicKey::FromHandle(std::move(key)));
  Certificate result(std::move(public_key));
  result.der_ = openssl::ToDer<i2d_X509>(x509);
  result.fingerprint_ = "sha256:" + Sha256Hex(result.der_);
  result.serial_ = Serial(x509);
  const X509_NAME* subject = X509_get_subject_name(x509);
  const int position = X509_NAME_get_index_by_NID(subject, NID_commonName, -1);
  if (position >= 0) {
    result.common_name_ =
        Text(X509_NAME_ENTRY_get_data(X509_NAME_get_entry(subject, position)));
  }
  int critical = -1;
  const GeneralNamesPtr names(static_cast<GENERAL_NAMES*>(
      X509_get_ext_d2i(x509, NID_subject_alt_name, &critical, nullptr)));
  if (names == nullptr && critical != -1) {
    return InvalidStatus(
        "certificate: wanted one well-formed list of alternative names");
  }
  for (int i = 0; i < sk_GENERAL_NAME_num(names.get()); ++i) {
    const GENERAL_NAME* name = sk_GENERAL_NAME_value(names.get(), i);
    if (name->type == GEN_URI) {
      result.uris_.push_back(Text(name->d.uniformResourceIdentifier));
    } else if (name->type == GEN_DNS) {
      result.dns_names_.push_back(Text(name->d.dNSName));
    } else if (name->type == GEN_IPADD) {
      ASSIGN_OR_RETURN(std::string ip, IpText(name->d.iPAddress));
      result.ips_.push_back(std::move(ip));
    }
  }
  ASSIGN_OR_RETURN(result.not_before_s_, Seconds(X509_get0_notBefore(x509)));
  ASSIGN_OR_RETURN(result.not_after_s_, Seconds(X509_get0_notAfter(x509)));
  result.is_ca_ = X509_check_ca(x509) == 1;
  result.certificate_ = std::move(certificate);
  return result;
}

StatusOr<Certificate> Certificate::FromPem(std::string_view pem) {
  RETURN_IF_ERROR(CheckSize("certificate", pem.size()));
  const openssl::BioPtr bio = openssl::ReadBio(pem);
  X509Ptr certificate(
      PEM_read_bio_X509(bio.get(), nullptr, openssl::NoPassPhrase, nullptr));
  if (certificate == nullptr) {
    return InvalidStatus("certificate: not a PEM certificate");
  }
  return FromHandle(std::move(certificate));
}

StatusOr<Certificate> Certificate::FromDer(std::string_view der) {
  RETURN_IF_ERROR(CheckSize("certificate", der.size()));
  const unsigned char* position = openssl::Data(der);
  X509Ptr certificate(
      d2i_X509(nullptr, &position, static_cast<long>(der.size())));
  if (certificate == nullptr || position != openssl::Data(der) + der.size()) {
    return InvalidStatus("certificate: not a DER certificate");
  }
  return FromHandle(std::move(certificate));
}

StatusOr<Certificate> Certificate::Load(const std::filesystem::path& path) {
  ASSIGN_OR_RETURN(const std::string pem, ReadFile(path, kMaxBytes));
  StatusOr<Certificate> certificate = FromPem(pem);
  if (!certificate.ok()) {
    return Annotate(certificate.status(), path.string());
  }
  return certificate;
}

std::string Certificate::ToPem() const {
  const openssl::BioPtr bio = openssl::WriteBio();
  PEM_write_bio_X509(bio.get(), certificate_.get());
  return openssl::Contents(bio.get());
}

Status Certificate::VerifyChain(const Certificate& ca, int64_t time_s,
                                KeyUsage usage) const {
  const X509StorePtr store(X509_STORE_new());
  const X509StoreContextPtr context(X509_STORE_CTX_new());
  if (store == nullptr || context == nullptr ||
      X509_STORE_add_cert(store.get(), ca.handle()) != 1 ||
      X509_STORE_CTX_init(context.get(), store.get(), certificate_.get(),
                          nullptr) != 1) {
    return InternalStatus("preparing to verify a certificate");
  }
  X509_VERIFY_PARAM* parameters = X509_STORE_CTX_get0_param(context.get());
  X509_VERIFY_PARAM_set_time(parameters, static_cast<time_t>(time_s));
  if (X509_VERIFY_PARAM_set_purpose(parameters, Purpose(usage)) != 1) {
    return InternalStatus("preparing to verify a certificate");
  }
  const int result = X509_verify_cert(context.get());
  openssl::TakeErrors();
  if (result != 1) {
    return Unauthenticated(
        "certificate \"{}\" (serial {}, valid {} to {}): {} at {}",
        common_name_, serial_, FormatTime(static_cast<double>(not_before_s_)),
        FormatTime(static_cast<double>(not_after_s_)),
        X509_verify_cert_error_string(X509_STORE_CTX_get_error(context.get())),
        FormatTime(static_cast<double>(time_s)));
  }
  return absl::OkStatus();
}

}  // namespace tributary::crypto
