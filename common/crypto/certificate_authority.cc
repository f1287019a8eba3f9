#include "common/crypto/certificate_authority.h"

#include <arpa/inet.h>
#include <openssl/x509v3.h>

#include <algorithm>
#include <cctype>
#include <memory>
#include <utility>

#include "common/base/random.h"
#include "common/crypto/openssl.h"

namespace tributary::crypto {
namespace {

using openssl::InternalStatus;

constexpr int64_t kBackdateSeconds = 5 * 60;
constexpr size_t kMaxNameBytes = 253;

using X509Ptr = std::unique_ptr<X509, openssl::Deleter<X509_free>>;
using ExtensionPtr =
    std::unique_ptr<X509_EXTENSION, openssl::Deleter<X509_EXTENSION_free>>;
using GeneralNamesPtr =
    std::unique_ptr<GENERAL_NAMES, openssl::Deleter<GENERAL_NAMES_free>>;
using GeneralNamePtr =
    std::unique_ptr<GENERAL_NAME, openssl::Deleter<GENERAL_NAME_free>>;
using StringPtr =
    std::unique_ptr<ASN1_STRING, openssl::Deleter<ASN1_STRING_free>>;

// What leaves and the CA's own certificate have in common.
struct Body {
  std::string common_name;
  int64_t not_before_s = 0;
  int64_t not_after_s = 0;
};

Status CheckCommonName(const std::string& name) {
  if (name.empty() || name.size() > 64) {
    return InvalidArgument("common name: got {} bytes, wanted 1 to 64",
                           name.size());
  }
  return absl::OkStatus();
}

StatusOr<X509Ptr> NewCertificate(const Body& body, const PublicKey& key) {
  X509Ptr x509(X509_new());
  // A positive random serial of 127 bits (RFC 5280 section 4.1.2.2).
  std::string serial = RandomBytes(16);
  serial[0] = static_cast<char>((serial[0] & 0x3f) | 0x40);
  using BigNumberPtr = std::unique_ptr<BIGNUM, openssl::Deleter<BN_free>>;
  const BigNumberPtr number(BN_bin2bn(
      openssl::Data(serial), static_cast<int>(serial.size()), nullptr));
  if (x509 == nullptr || number == nullptr ||
      X509_set_version(x509.get(), X509_VERSION_3) != 1 ||
      BN_to_ASN1_INTEGER(number.get(), X509_get_serialNumber(x509.get())) ==
          nullptr ||
      ASN1_TIME_set(X509_getm_notBefore(x509.get()),
                    static_cast<time_t>(body.not_before_s)) == nullptr ||
      ASN1_TIME_set(X509_getm_notAfter(x509.get()),
                    static_cast<time_t>(body.not_after_s)) == nullptr ||
      X509_set_pubkey(x509.get(), key.handle()) != 1 ||
      X509_NAME_add_entry_by_NID(
          X509_get_subject_name(x509.get()), NID_commonName, MBSTRING_UTF8,
          openssl::Data(body.common_name),
          static_cast<int>(body.common_name.size()), -1, 0) != 1) {
    return InternalStatus("making a certificate");
  }
  return x509;
}

// Adds an extension given in the syntax of OpenSSL's configuration files;
// `value` never holds foreign text.
Status AddExtension(X509* x509, const X509* issuer, int nid,
                    const char* value) {
  X509V3_CTX context;
  X509V3_set_ctx_nodb(&context);
  X509V3_set_ctx(&context, const_cast<X509*>(issuer), x509, nullptr, nullptr,
                 0);
  const ExtensionPtr extension(
      X509V3_EXT_conf_nid(nullptr, &context, nid, value));
  if (extension == nullptr || X509_add_ext(x509, extension.get(), -1) != 1) {
    return InternalStatus("adding an extension to a certificate");
  }
  return absl::OkStatus();
}

// The four or sixteen bytes of an IP address, or nothing.
std::string IpBytes(const std::string& host) {
  unsigned char bytes[16];
  if (inet_pton(AF_INET, host.c_str(), bytes) == 1) {
    return std::string(reinterpret_cast<char*>(bytes), 4);
  }
  if (inet_pton(AF_INET6, host.c_str(), bytes) == 1) {
    return std::string(reinterpret_cast<char*>(bytes), 16);
  }
  return {};
}

bool IsDnsName(const std::string& host) {
  return !host.empty() && host.size() <= kMaxNameBytes &&
         std::all_of(host.begin(), host.end(), [](unsigned char c) {
           return std::isalnum(c) || c == '-' || c == '.' || c == '*';
         });
}

bool IsUri(const std::string& uri) {
  return !uri.empty() && uri.size() <= kMaxNameBytes &&
         uri.find("://") != std::string::npos &&
         std::all_of(uri.begin(), uri.end(),
                     [](unsigned char c) { return std::isgraph(c); });
}

Status AddName(GENERAL_NAMES* names, int type, const std::string& bytes) {
  const bool is_ip = type == GEN_IPADD;
  StringPtr value(
      ASN1_STRING_type_new(is_ip ? V_ASN1_OCTET_STRING : V_ASN1_IA5STRING));
  GeneralNamePtr name(GENERAL_NAME_new());
  if (value == nullptr || name == nullptr ||
      ASN1_STRING_set(value.get(), bytes.data(),
                      static_cast<int>(bytes.size())) != 1) {
    return InternalStatus("adding a name to a certificate");
  }
  GENERAL_NAME_set0_value(name.get(), type, value.release());
  if (sk_GENERAL_NAME_push(names, name.get()) == 0) {
    return InternalStatus("adding a name to a certificate");
  }
  name.release();
  return absl::OkStatus();
}

Status AddAlternativeNames(X509* x509, const LeafOptions& options) {
  const GeneralNamesPtr names(GENERAL_NAMES_new());
  for (const std::string& uri : options.uris) {
    if (!IsUri(uri)) {
      return InvalidArgument("certificate: got \"{}\", wanted a URI", uri);
    }
    RETURN_IF_ERROR(AddName(names.get(), GEN_URI, uri));
  }
  for (const std::string& host : options.hosts) {
    const std::string ip = IpBytes(host);
    if (!ip.empty()) {
      RETURN_IF_ERROR(AddName(names.get(), GEN_IPADD, ip));
    } else if (IsDnsName(host)) {
      RETURN_IF_ERROR(AddName(names.get(), GEN_DNS, host));
    } else {
      return InvalidArgument(
          "certificate: got \"{}\", wanted a host name or an IP address", host);
    }
  }
  if (sk_GENERAL_NAME_num(names.get()) > 0 &&
      X509_add1_ext_i2d(x509, NID_subject_alt_name, names.get(), 0, 0) != 1) {
    return InternalStatus("adding names to a certificate");
  }
  return absl::OkStatus();
}

Status AddUsages(X509* x509, const X509* issuer,
                 const std::vector<KeyUsage>& usages) {
  std::string value;
  for (const KeyUsage usage : usages) {
    value += value.empty() ? "" : ",";
    switch (usage) {
      case KeyUsage::kClient:
        value += "clientAuth";
        break;
      case KeyUsage::kServer:
        value += "serverAuth";
        break;
      case KeyUsage::kAny:
        value += "anyExtendedKeyUsage";
        break;
    }
  }
  return value.empty()
             ? absl::OkStatus()
             : AddExtension(x509, issuer, NID_ext_key_usage, value.c_str());
}

StatusOr<Certificate> SignCertificate(X509Ptr x509, const PrivateKey& key) {
  if (X509_sign(x509.get(), key.handle(), EVP_sha256()) == 0) {
    return InternalStatus("signing a certificate");
  }
  // Parsed from its bytes, as everybody else will.
  return Certificate::FromDer(openssl::ToDer<i2d_X509>(x509.get()));
}

}  // namespace

StatusOr<CertificateAuthority> CertificateAuthority::CreateSelfSigned(
    const std::string& common_name, int64_t lifetime_s, const Clock& clock) {
  RETURN_IF_ERROR(CheckCommonName(common_name));
  if (lifetime_s <= 0) {
    return InvalidArgument("lifetime: got {} s, wanted more than 0",
                           lifetime_s);
  }
  ASSIGN_OR_RETURN(PrivateKey key, PrivateKey::Generate());
  const auto now_s = static_cast<int64_t>(clock.NowSeconds());
  const Body body{.common_name = common_name,
                  .not_before_s = now_s - kBackdateSeconds,
                  .not_after_s = now_s + lifetime_s};
  ASSIGN_OR_RETURN(X509Ptr x509, NewCertificate(body, key.public_key()));
  if (X509_set_issuer_name(x509.get(), X509_get_subject_name(x509.get())) !=
      1) {
    return InternalStatus("naming a certificate's issuer");
  }
  X509* self = x509.get();
  RETURN_IF_ERROR(AddExtension(self, self, NID_basic_constraints,
                               "critical,CA:TRUE,pathlen:0"));
  RETURN_IF_ERROR(
      AddExtension(self, self, NID_key_usage, "critical,keyCertSign,cRLSign"));
  RETURN_IF_ERROR(AddExtension(self, self, NID_subject_key_identifier, "hash"));
  ASSIGN_OR_RETURN(Certificate certificate,
                   SignCertificate(std::move(x509), key));
  return Create(std::move(certificate), std::move(key), clock);
}

StatusOr<CertificateAuthority> CertificateAuthority::Create(
    Certificate certificate, PrivateKey key, const Clock& clock) {
  if (!certificate.is_ca()) {
    return InvalidArgument("certificate \"{}\": not that of a CA",
                           certificate.common_name());
  }
  if (!(certificate.public_key() == key.public_key())) {
    return InvalidArgument(
        "certificate \"{}\" has key {}, but the private key is {}",
        certificate.common_name(), certificate.public_key().key_id(),
        key.public_key().key_id());
  }
  return CertificateAuthority(std::move(certificate), std::move(key), clock);
}

StatusOr<Certificate> CertificateAuthority::Issue(
    const PublicKey& key, const LeafOptions& options) const {
  RETURN_IF_ERROR(CheckCommonName(options.common_name));
  const auto now_s = static_cast<int64_t>(clock_->NowSeconds());
  const Body body{.common_name = options.common_name,
                  .not_before_s = std::max(now_s - kBackdateSeconds,
                                           certificate_.not_before_s()),
                  .not_after_s = std::min(now_s + options.lifetime_s,
                                          certificate_.not_after_s())};
  if (options.lifetime_s <= 0 || body.not_after_s <= now_s) {
    return InvalidArgument(
        "certificate: a lifetime of {} s leaves no time before the CA's end",
        options.lifetime_s);
  }
  ASSIGN_OR_RETURN(X509Ptr x509, NewCertificate(body, key));
  X509* issuer = certificate_.handle();
  if (X509_set_issuer_name(x509.get(), X509_get_subject_name(issuer)) != 1) {
    return InternalStatus("naming a certificate's issuer");
  }
  X509* leaf = x509.get();
  RETURN_IF_ERROR(
      AddExtension(leaf, issuer, NID_basic_constraints, "critical,CA:FALSE"));
  RETURN_IF_ERROR(
      AddExtension(leaf, issuer, NID_key_usage, "critical,digitalSignature"));
  RETURN_IF_ERROR(AddUsages(leaf, issuer, options.usages));
  RETURN_IF_ERROR(
      AddExtension(leaf, issuer, NID_subject_key_identifier, "hash"));
  RETURN_IF_ERROR(
      AddExtension(leaf, issuer, NID_authority_key_identifier, "keyid:always"));
  RETURN_IF_ERROR(AddAlternativeNames(leaf, options));
  return SignCertificate(std::move(x509), key_);
}

}  // namespace tributary::crypto
