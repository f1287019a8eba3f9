#pragma once

// Signatures over the files of a model in the format of OpenSSF Model Signing
// v1.0 (github.com/sigstore/model-transparency): a Sigstore bundle with a DSSE
// envelope over an in-toto statement that lists every file with its SHA-256.
// Other programs verify them with the federation's CA certificate alone:
//
//   model_signing verify certificate DIR --signature DIR/model.sig
//     --certificate_chain ca.crt.pem

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "common/base/cancellation.h"
#include "common/base/status.h"
#include "common/crypto/certificate.h"
#include "common/crypto/key.h"

namespace tributary::manifest {

// The file's usual name in the folder that it is about.
inline constexpr char kModelSignatureFile[] = "model.sig";

struct ModelFile {
  std::string path;    // relative, with "/"; "." for a model of one file
  std::string sha256;  // hexadecimal
  friend bool operator==(const ModelFile&, const ModelFile&) = default;
};

// What is signed.
struct ModelStatement {
  std::string name;              // informative
  std::vector<ModelFile> files;  // by path, bytewise
  // Files and folders that the signature does not cover.
  std::vector<std::string> ignored = {kModelSignatureFile};
};

// Who signs: the certificate belongs to the key and was issued by the CA.
struct ModelSigner {
  const crypto::PrivateKey& key;
  const crypto::Certificate& certificate;
  const crypto::Certificate& ca;
};

// The bundle as JSON. INVALID_ARGUMENT for a path that is not plain, named
// twice or ignored.
StatusOr<std::string> SignModel(ModelStatement statement,
                                const ModelSigner& signer);

// The statement of a bundle whose certificate `ca` issued and whose signature
// holds. The certificate has to be valid at its own beginning only: a model is
// signed once and used for years. INVALID_ARGUMENT when malformed,
// UNAUTHENTICATED when signed by somebody else.
StatusOr<ModelStatement> OpenModelSignature(std::string_view bundle_json,
                                            const crypto::Certificate& ca);

// The same for a signature of that key, whoever certified it. UNAUTHENTICATED
// when it is another key's.
StatusOr<ModelStatement> OpenModelSignature(std::string_view bundle_json,
                                            const crypto::PublicKey& signer);

// Every regular file below `folder` but those in `ignored`, hashed. A path that
// is a file gives one file ".". INVALID_ARGUMENT for symbolic links.
StatusOr<std::vector<ModelFile>> HashModelFiles(
    const std::filesystem::path& folder,
    const std::vector<std::string>& ignored,
    const CancellationToken* cancellation);

// OK when the folder holds exactly the files of the statement. DATA_LOSS names
// the first one that is missing, new or different.
Status CheckModelFiles(const ModelStatement& statement,
                       const std::filesystem::path& folder,
                       const CancellationToken* cancellation);

}  // namespace tributary::manifest
