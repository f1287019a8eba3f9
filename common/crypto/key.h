#pragma once

// ECDSA keys on P-256. Keys are immutable and cheap to copy.

#include <filesystem>
#include <memory>
#include <string>
#include <string_view>

#include "common/base/status.h"

struct evp_pkey_st;

namespace tributary::crypto {

class PublicKey {
 public:
  // A SubjectPublicKeyInfo. INVALID_ARGUMENT when malformed or not P-256.
  static StatusOr<PublicKey> FromPem(std::string_view pem);
  static StatusOr<PublicKey> FromDer(std::string_view der);

  std::string ToPem() const;
  const std::string& ToDer() const { return der_; }
  // "sha256:" and the hexadecimal SHA-256 of ToDer().
  const std::string& key_id() const { return key_id_; }

  // UNAUTHENTICATED unless `signature` (DER of ECDSA with SHA-256) was made
  // over `message` by this key's private half.
  Status Verify(std::string_view message, std::string_view signature) const;

  // For the OpenSSL code of this folder.
  evp_pkey_st* handle() const { return key_.get(); }
  static StatusOr<PublicKey> FromHandle(std::shared_ptr<evp_pkey_st> key);

  friend bool operator==(const PublicKey& a, const PublicKey& b) {
    return a.der_ == b.der_;
  }

 private:
  PublicKey(std::shared_ptr<evp_pkey_st> key, std::string der);
  std::shared_ptr<evp_pkey_st> key_;
  std::string der_;
  std::string key_id_;
};

class PrivateKey {
 public:
  // A fresh P-256 key.
  static StatusOr<PrivateKey> Generate();
  // PKCS #8 or SEC 1, not encrypted. INVALID_ARGUMENT when malformed or not
  // P-256; messages never hold key material.
  static StatusOr<PrivateKey> FromPem(std::string_view pem);
  // Reads a PEM file. NOT_FOUND when there is none, PERMISSION_DENIED when
  // others than its owner may read or write it.
  static StatusOr<PrivateKey> Load(const std::filesystem::path& path);

  // PKCS #8.
  std::string ToPem() const;
  // Writes the PEM with mode 0600, atomically.
  Status Save(const std::filesystem::path& path) const;

  const PublicKey& public_key() const { return public_key_; }

  // ECDSA with SHA-256 over `message`, DER. Signatures are randomised.
  StatusOr<std::string> Sign(std::string_view message) const;

  // For the OpenSSL code of this folder.
  evp_pkey_st* handle() const { return key_.get(); }

 private:
  PrivateKey(std::shared_ptr<evp_pkey_st> key, PublicKey public_key)
      : key_(std::move(key)), public_key_(std::move(public_key)) {}
  static StatusOr<PrivateKey> FromHandle(std::shared_ptr<evp_pkey_st> key);
  std::shared_ptr<evp_pkey_st> key_;
  PublicKey public_key_;
};

}  // namespace tributary::crypto
