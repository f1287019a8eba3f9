#pragma once

// X.509 certificates and signing requests. Both are immutable and cheap to
// copy.

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "common/base/status.h"
#include "common/crypto/key.h"

struct x509_st;
struct X509_req_st;

namespace tributary::crypto {

// What a certificate may be used for in TLS.
enum class KeyUsage { kAny, kClient, kServer };

class Certificate {
 public:
  // The first certificate of a PEM text. INVALID_ARGUMENT when malformed, with
  // a key that is not P-256 or larger than 64 KiB.
  static StatusOr<Certificate> FromPem(std::string_view pem);
  static StatusOr<Certificate> FromDer(std::string_view der);
  // Reads a PEM file. NOT_FOUND when there is none.
  static StatusOr<Certificate> Load(const std::filesystem::path& path);

  std::string ToPem() const;
  const std::string& ToDer() const { return der_; }

  // "sha256:" and the hexadecimal SHA-256 of the DER.
  const std::string& fingerprint() const { return fingerprint_; }
  // Lower-case hexadecimal, no leading zeros.
  const std::string& serial() const { return serial_; }
  const std::string& common_name() const { return common_name_; }
  // Subject alternative names.
  const std::vector<std::string>& uris() const { return uris_; }
  const std::vector<std::string>& dns_names() const { return dns_names_; }
  const std::vector<std::string>& ip_addresses() const { return ips_; }
  // Seconds since the Unix epoch; both ends are inside.
  int64_t not_before_s() const { return not_before_s_; }
  int64_t not_after_s() const { return not_after_s_; }
  bool is_ca() const { return is_ca_; }
  const PublicKey& public_key() const { return public_key_; }

  // Whether `ca` issued this certificate for `usage` and both are valid at
  // `time_s` (seconds since the Unix epoch). UNAUTHENTICATED with the reason
  // otherwise.
  Status VerifyChain(const Certificate& ca, int64_t time_s,
                     KeyUsage usage = KeyUsage::kAny) const;

  // For the OpenSSL code of this folder.
  x509_st* handle() const { return certificate_.get(); }
  static StatusOr<Certificate> FromHandle(std::shared_ptr<x509_st> certificate);

 private:
  explicit Certificate(PublicKey public_key)
      : public_key_(std::move(public_key)) {}
  std::shared_ptr<x509_st> certificate_;
  PublicKey public_key_;
  std::string der_;
  std::string fingerprint_;
  std::string serial_;
  std::string common_name_;
  std::vector<std::string> uris_;
  std::vector<std::string> dns_names_;
  std::vector<std::string> ips_;
  int64_t not_before_s_ = 0;
  int64_t not_after_s_ = 0;
  bool is_ca_ = false;
};

// A PKCS #10 request whose own signature holds: the sender has the key.
class SigningRequest {
 public:
  // Signs a request with `key`. The name is informative: the issuer decides.
  static StatusOr<SigningRequest> Create(const PrivateKey& key,
                                         const std::string& common_name);
  // INVALID_ARGUMENT when malformed, not P-256, larger than 64 KiB or with a
  // signature that does not hold.
  static StatusOr<SigningRequest> FromPem(std::string_view pem);

  std::string ToPem() const;
  const PublicKey& public_key() const { return public_key_; }

 private:
  SigningRequest(std::shared_ptr<X509_req_st> request, PublicKey public_key)
      : request_(std::move(request)), public_key_(std::move(public_key)) {}
  static StatusOr<SigningRequest> FromHandle(
      std::shared_ptr<X509_req_st> request);
  std::shared_ptr<X509_req_st> request_;
  PublicKey public_key_;
};

}  // namespace tributary::crypto
