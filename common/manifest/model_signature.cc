#include "common/manifest/model_signature.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <utility>

#include "common/crypto/base64.h"
#include "common/crypto/digest.h"
#include "common/crypto/dsse.h"
#include "common/manifest/canonical_json.h"
#include "common/manifest/json_reader.h"
#include "common/manifest/statement.h"

namespace tributary::manifest {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kWhat = "model signature";
constexpr std::string_view kBundleType =
    "application/vnd.dev.sigstore.bundle.v0.3+json";
constexpr std::string_view kStatementType = "https://in-toto.io/Statement/v1";
constexpr std::string_view kPredicateType =
    "https://model_signing/signature/v1.0";
constexpr JsonLimits kLimits = {.max_bytes = 64u << 20, .max_depth = 10};
constexpr size_t kMaxFiles = 200'000;
constexpr size_t kMaxPathBytes = 4096;

// A relative path of usual parts.
bool IsPlain(std::string_view path) {
  if (path == ".") {
    return true;
  }
  const fs::path parsed(path);
  return !path.empty() && path.size() <= kMaxPathBytes &&
         parsed.is_relative() &&
         parsed.lexically_normal().generic_string() == path &&
         *parsed.begin() != "..";
}

bool IsIgnored(const std::string& path,
               const std::vector<std::string>& ignored) {
  return std::any_of(ignored.begin(), ignored.end(),
                     [&path](const std::string& prefix) {
                       return path == prefix || path.starts_with(prefix + "/");
                     });
}

Status CheckFiles(const ModelStatement& statement) {
  for (size_t i = 0; i < statement.files.size(); ++i) {
    const ModelFile& file = statement.files[i];
    if (!IsPlain(file.path) || !crypto::IsSha256Hex(file.sha256) ||
        IsIgnored(file.path, statement.ignored) ||
        (i > 0 && statement.files[i - 1].path >= file.path)) {
      return InvalidArgument(
          "{}: file \"{}\": wanted plain relative paths in bytewise order, "
          "each once and none ignored",
          kWhat, file.path);
    }
  }
  return absl::OkStatus();
}

// SHA-256 over the digests of all files, in order.
StatusOr<std::string> RootDigest(const std::vector<ModelFile>& files) {
  crypto::Sha256 hash;
  for (const ModelFile& file : files) {
    ASSIGN_OR_RETURN(const std::string bytes, crypto::DecodeHex(file.sha256));
    hash.Update(bytes);
  }
  return hash.Hex();
}

StatusOr<std::string> StatementJson(const ModelStatement& statement) {
  ASSIGN_OR_RETURN(const std::string root, RootDigest(statement.files));
  Json resources = Json::array();
  for (const ModelFile& file : statement.files) {
    resources.push_back({{"algorithm", "sha256"},
                         {"digest", file.sha256},
                         {"name", file.path}});
  }
  return CanonicalJson(
      {{"_type", kStatementType},
       {"subject",
        {{{"name", statement.name}, {"digest", {{"sha256", root}}}}}},
       {"predicateType", kPredicateType},
       {"predicate",
        {{"resources", std::move(resources)},
         {"serialization",
          {{"method", "files"},
           {"hash_type", "sha256"},
           {"allow_symlinks", false},
           {"ignore_paths", statement.ignored}}}}}});
}

StatusOr<ModelStatement> ReadStatement(std::string_view json) {
  JsonDocument document(kWhat, json, kLimits);
  const JsonReader root = document.root();
  root.Field("_type").Constant(kStatementType);
  root.Field("predicateType").Constant(kPredicateType);
  ModelStatement statement;
  statement.ignored.clear();
  std::string digest;
  for (const JsonReader& subject : root.Field("subject").List(1, 1)) {
    statement.name = subject.Field("name").String(0, kMaxPathBytes);
    digest = subject.Field("digest").Field("sha256").Digest();
  }
  const JsonReader predicate = root.Field("predicate");
  const JsonReader serialization = predicate.Field("serialization");
  serialization.Field("method").Constant("files");
  serialization.Field("hash_type").Constant("sha256");
  if (serialization.Field("allow_symlinks").Bool()) {
    serialization.Field("allow_symlinks").Fail("wanted false");
  }
  for (const JsonReader& path :
       serialization.Field("ignore_paths").List(0, 1000)) {
    statement.ignored.push_back(path.String(1, kMaxPathBytes));
  }
  for (const JsonReader& resource :
       predicate.Field("resources").List(0, kMaxFiles)) {
    resource.Field("algorithm").Constant("sha256");
    statement.files.push_back(
        {.path = resource.Field("name").String(1, kMaxPathBytes),
         .sha256 = resource.Field("digest").Digest()});
  }
  RETURN_IF_ERROR(document.Finish());
  RETURN_IF_ERROR(CheckFiles(statement));
  ASSIGN_OR_RETURN(const std::string wanted, RootDigest(statement.files));
  if (digest != wanted) {
    return InvalidArgument("{}: subject.digest: got {}, its files give {}",
                           kWhat, digest, wanted);
  }
  return statement;
}

}  // namespace

StatusOr<std::string> SignModel(ModelStatement statement,
                                const ModelSigner& signer) {
  std::sort(
      statement.files.begin(), statement.files.end(),
      [](const ModelFile& a, const ModelFile& b) { return a.path < b.path; });
  RETURN_IF_ERROR(CheckFiles(statement));
  ASSIGN_OR_RETURN(const std::string payload, StatementJson(statement));
  ASSIGN_OR_RETURN(const crypto::Envelope envelope,
                   crypto::SignEnvelope(kPayloadType, payload, signer.key));
  Json certificates = Json::array();
  for (const crypto::Certificate* certificate :
       {&signer.certificate, &signer.ca}) {
    certificates.push_back(
        {{"rawBytes", crypto::EncodeBase64(certificate->ToDer())}});
  }
  ASSIGN_OR_RETURN(const Json signed_envelope, ParseJson(envelope.ToJson()));
  return CanonicalJson({{"mediaType", kBundleType},
                        {"verificationMaterial",
                         {{"tlogEntries", Json::array()},
                          {"x509CertificateChain",
                           {{"certificates", std::move(certificates)}}}}},
                        {"dsseEnvelope", signed_envelope}});
}

namespace {

struct Bundle {
  crypto::Certificate certificate;
  crypto::Envelope envelope;
};

StatusOr<Bundle> ParseBundle(std::string_view bundle_json) {
  JsonDocument document(kWhat, bundle_json, kLimits);
  const JsonReader root = document.root();
  root.Field("mediaType").Constant(kBundleType);
  const JsonReader material = root.Field("verificationMaterial");
  material.Field("tlogEntries").List(0, 0);
  std::vector<std::string> chain;
  for (const JsonReader& item : material.Field("x509CertificateChain")
                                    .Field("certificates")
                                    .List(1, 10)) {
    chain.push_back(item.Field("rawBytes").String(1, 64u << 10));
  }
  const std::string envelope_json = root.Field("dsseEnvelope").ObjectText();
  RETURN_IF_ERROR(document.Finish());
  ASSIGN_OR_RETURN(const std::string der, crypto::DecodeBase64(chain[0]));
  ASSIGN_OR_RETURN(crypto::Certificate certificate,
                   crypto::Certificate::FromDer(der));
  ASSIGN_OR_RETURN(crypto::Envelope envelope,
                   crypto::Envelope::FromJson(envelope_json));
  if (envelope.payload_type != kPayloadType) {
    return InvalidArgument("{}: payloadType: got \"{}\", wanted \"{}\"", kWhat,
                           envelope.payload_type, kPayloadType);
  }
  return Bundle{.certificate = std::move(certificate),
                .envelope = std::move(envelope)};
}

StatusOr<ModelStatement> OpenSignedBy(const Bundle& bundle,
                                      const crypto::PublicKey& key) {
  const crypto::Envelope& envelope = bundle.envelope;
  RETURN_IF_ERROR(key.Verify(crypto::PreAuthenticationEncoding(
                                 envelope.payload_type, envelope.payload),
                             envelope.signatures.front().bytes));
  return ReadStatement(envelope.payload);
}

}  // namespace

StatusOr<ModelStatement> OpenModelSignature(std::string_view bundle_json,
                                            const crypto::Certificate& ca) {
  ASSIGN_OR_RETURN(const Bundle bundle, ParseBundle(bundle_json));
  // The certificate says whose key it is; key ids of other signers vary.
  const crypto::Certificate& certificate = bundle.certificate;
  RETURN_IF_ERROR(certificate.VerifyChain(ca, certificate.not_before_s()));
  return OpenSignedBy(bundle, certificate.public_key());
}

StatusOr<ModelStatement> OpenModelSignature(std::string_view bundle_json,
                                            const crypto::PublicKey& signer) {
  ASSIGN_OR_RETURN(const Bundle bundle, ParseBundle(bundle_json));
  return OpenSignedBy(bundle, signer);
}

StatusOr<std::vector<ModelFile>> HashModelFiles(
    const fs::path& folder, const std::vector<std::string>& ignored,
    const CancellationToken* cancellation) {
  std::vector<ModelFile> files;
  std::error_code error;
  if (fs::is_regular_file(folder, error)) {
    ASSIGN_OR_RETURN(crypto::FileDigest digest, crypto::DigestFile(folder));
    files.push_back({.path = ".", .sha256 = std::move(digest.sha256)});
    return files;
  }
  for (fs::recursive_directory_iterator entry(folder, error), end;
       !error && entry != end; entry.increment(error)) {
    const std::string path =
        entry->path().lexically_relative(folder).generic_string();
    if (IsIgnored(path, ignored)) {
      continue;
    }
    if (entry->is_symlink(error)) {
      return InvalidArgument("{} is a symbolic link, wanted files",
                             entry->path().string());
    }
    if (!entry->is_regular_file(error)) {
      continue;
    }
    if (cancellation != nullptr) {
      RETURN_IF_ERROR(cancellation->Check());
    }
    ASSIGN_OR_RETURN(crypto::FileDigest digest,
                     crypto::DigestFile(entry->path()));
    files.push_back({.path = path, .sha256 = std::move(digest.sha256)});
  }
  if (error) {
    return NotFound("{}: {}", folder.string(), error.message());
  }
  std::sort(
      files.begin(), files.end(),
      [](const ModelFile& a, const ModelFile& b) { return a.path < b.path; });
  return files;
}

Status CheckModelFiles(const ModelStatement& statement, const fs::path& folder,
                       const CancellationToken* cancellation) {
  ASSIGN_OR_RETURN(const std::vector<ModelFile> found,
                   HashModelFiles(folder, statement.ignored, cancellation));
  auto wanted = statement.files.begin();
  auto got = found.begin();
  while (wanted != statement.files.end() || got != found.end()) {
    if (got == found.end() ||
        (wanted != statement.files.end() && wanted->path < got->path)) {
      return DataLoss("{}: {} is missing", folder.string(), wanted->path);
    }
    if (wanted == statement.files.end() || got->path < wanted->path) {
      return DataLoss("{}: {} was not signed", folder.string(), got->path);
    }
    if (got->sha256 != wanted->sha256) {
      return DataLoss("{}: {} has digest {}, {} was signed", folder.string(),
                      got->path, got->sha256, wanted->sha256);
    }
    ++wanted;
    ++got;
  }
  return absl::OkStatus();
}

}  // namespace tributary::manifest
