#include "contributor/client/fetch.h"

#include <algorithm>
#include <set>
#include <variant>
#include <vector>

#include "common/base/files.h"
#include "common/crypto/digest.h"
#include "common/manifest/expert_manifest.h"
#include "common/manifest/model_signature.h"
#include "common/manifest/resource_name.h"
#include "common/manifest/spiffe.h"
#include "contributor/cache/materialise.h"
#include "contributor/client/blob_transfer.h"

namespace tributary::contributor {
namespace fs = std::filesystem;
namespace {

// Beside {digest}/, so that an anchor is known again without a network.
fs::path ManifestPath(const fs::path& root, const std::string& digest) {
  return root / (digest + ".json");
}

Status DownloadAll(const FetchContext& context,
                   const std::vector<MaterialisedFile>& files) {
  std::set<manifest::BlobName> wanted;
  for (const MaterialisedFile& file : files) {
    if (const auto* blob = std::get_if<manifest::BlobName>(&file.content)) {
      wanted.insert(*blob);
    }
  }
  const std::vector<manifest::BlobName> blobs(wanted.begin(), wanted.end());
  std::vector<uint64_t> sizes;
  for (const manifest::BlobName& blob : blobs) {
    sizes.push_back(blob.size);
  }
  return TransferAll(
      sizes,
      [&](size_t index, const TransferProgress& progress) {
        return context.client.Download(blobs[index], context.cache, progress);
      },
      context.progress);
}

// Downloads what is missing and builds the folder; a cached blob that has
// decayed is fetched anew once.
Status FetchFolder(const FetchContext& context,
                   const std::vector<MaterialisedFile>& files,
                   const fs::path& directory) {
  for (const MaterialisedFile& file : files) {
    RETURN_IF_ERROR(CheckRelativePath(file.path));
  }
  RETURN_IF_ERROR(DownloadAll(context, files));
  const Status status = Materialise(context.cache, files, directory);
  if (!absl::IsDataLoss(status)) {
    return status;
  }
  RETURN_IF_ERROR(DownloadAll(context, files));
  return Materialise(context.cache, files, directory);
}

struct VerifiedAnchor {
  manifest::AnchorManifest manifest;
  std::string digest;
  std::string json;
};

StatusOr<VerifiedAnchor> GetVerifiedAnchor(const FetchContext& context,
                                           const std::string& name) {
  ASSIGN_OR_RETURN(const v1::Anchor anchor, context.client.GetAnchor(name));
  RETURN_IF_ERROR(CheckSigner(
      context.identity, static_cast<int64_t>(context.clock.NowSeconds())));
  StatusOr<manifest::AnchorManifest> manifest = manifest::OpenAnchorManifest(
      anchor.envelope_json(), context.identity.signer.public_key());
  if (!manifest.ok()) {
    return Annotate(manifest.status(), anchor.name());
  }
  VerifiedAnchor verified;
  ASSIGN_OR_RETURN(verified.json, manifest->ToJson());
  verified.digest = crypto::Sha256Hex(verified.json);
  verified.manifest = *std::move(manifest);
  if (verified.digest != anchor.digest()) {
    return Unauthenticated("{}: its digest is {}, the coordinator says {}",
                           anchor.name(), verified.digest, anchor.digest());
  }
  return verified;
}

std::vector<MaterialisedFile> AnchorFiles(
    const manifest::AnchorManifest& manifest, const std::string& prefix) {
  std::vector<MaterialisedFile> files;
  for (const manifest::AnchorManifest::File& file : manifest.files) {
    files.push_back({.path = prefix + file.path, .content = file.blob});
  }
  return files;
}

}  // namespace

StatusOr<FetchedAnchor> FetchAnchor(const FetchContext& context,
                                    const std::string& name,
                                    const fs::path& root) {
  ASSIGN_OR_RETURN(VerifiedAnchor anchor, GetVerifiedAnchor(context, name));
  const fs::path directory = root / anchor.digest;
  RETURN_IF_ERROR(
      FetchFolder(context, AnchorFiles(anchor.manifest, ""), directory));
  RETURN_IF_ERROR(
      WriteFileAtomic(ManifestPath(root, anchor.digest), anchor.json));
  return FetchedAnchor{.manifest = std::move(anchor.manifest),
                       .digest = anchor.digest,
                       .directory = directory};
}

StatusOr<FetchedAnchor> LoadFetchedAnchor(const fs::path& root,
                                          const std::string& digest) {
  const StatusOr<std::string> json = ReadFile(ManifestPath(root, digest));
  if (!json.ok() || crypto::Sha256Hex(*json) != digest) {
    return NotFound("anchor {} was not fetched yet", digest);
  }
  ASSIGN_OR_RETURN(manifest::AnchorManifest manifest,
                   manifest::AnchorManifest::FromJson(*json));
  return FetchedAnchor{.manifest = std::move(manifest),
                       .digest = digest,
                       .directory = root / digest};
}

Status VerifyFetchedAnchor(const FetchedAnchor& anchor, BlobCache& cache) {
  return Materialise(cache, AnchorFiles(anchor.manifest, ""), anchor.directory);
}

StatusOr<manifest::ReleaseManifest> VerifyRelease(const Identity& identity,
                                                  const v1::Release& release,
                                                  const Clock& clock) {
  RETURN_IF_ERROR(
      CheckSigner(identity, static_cast<int64_t>(clock.NowSeconds())));
  StatusOr<manifest::ReleaseStatement> statement = manifest::OpenRelease(
      release.envelope_json(), identity.signer.public_key());
  if (!statement.ok()) {
    return Annotate(statement.status(), release.name());
  }
  const std::string digest = crypto::Sha256Hex(release.manifest_json());
  if (statement->release != release.name() ||
      statement->manifest_digest != digest || release.digest() != digest) {
    return Unauthenticated(
        "{}: the signature is for {} with manifest {}, the manifest has {}",
        release.name(), statement->release, statement->manifest_digest, digest);
  }
  return manifest::ReleaseManifest::FromJson(release.manifest_json());
}

namespace {

// What the owner of one expert signed, checked down to its key: the manifest is
// the one that the release names, and the federation's CA issued the key's
// certificate to that contributor.
Status CheckExpert(const Identity& identity,
                   const manifest::ReleaseManifest::Expert& expected,
                   const v1::ReleaseExpert& got) {
  if (got.contribution() != "contributions/" + expected.contribution) {
    return Unauthenticated("got the manifest of {}, wanted contributions/{}",
                           got.contribution(), expected.contribution);
  }
  ASSIGN_OR_RETURN(const crypto::Certificate certificate,
                   crypto::Certificate::FromPem(got.certificate_pem()));
  // It may have ended since it signed; what counts is that it was issued.
  ASSIGN_OR_RETURN(
      const manifest::Identity owner,
      VerifyMember(certificate, identity.cas(), identity.federation,
                   certificate.not_before_s()));
  if (owner.role != manifest::Role::kContributor ||
      owner.id != expected.contributor) {
    return Unauthenticated("signed with the key of {}, wanted contributors/{}",
                           owner.ToUri(), expected.contributor);
  }
  ASSIGN_OR_RETURN(const manifest::ExpertManifest manifest,
                   manifest::OpenExpertManifest(got.manifest_envelope_json(),
                                                certificate.public_key()));
  ASSIGN_OR_RETURN(const std::string digest, manifest.Digest());
  if (digest != expected.manifest_digest) {
    return Unauthenticated("its manifest has digest {}, the release names {}",
                           digest, expected.manifest_digest);
  }
  return absl::OkStatus();
}

// manifests/ of a release: every expert's signed manifest, verified.
Status AddExpertManifests(const FetchContext& context,
                          const std::string& release,
                          const manifest::ReleaseManifest& manifest,
                          std::vector<MaterialisedFile>& files) {
  if (manifest.experts.empty()) {
    return absl::OkStatus();
  }
  ASSIGN_OR_RETURN(const std::vector<v1::ReleaseExpert> experts,
                   context.client.ListReleaseExperts(release));
  if (experts.size() != manifest.experts.size()) {
    return Unauthenticated("{}: got {} signed manifests for {} experts",
                           release, experts.size(), manifest.experts.size());
  }
  for (size_t i = 0; i < experts.size(); ++i) {
    const std::string& contribution = manifest.experts[i].contribution;
    RETURN_IF_ERROR(
        Annotate(CheckExpert(context.identity, manifest.experts[i], experts[i]),
                 release + ", contributions/" + contribution));
    files.push_back({.path = "manifests/" + contribution + ".dsse.json",
                     .content = experts[i].manifest_envelope_json()});
  }
  return absl::OkStatus();
}

// model.sig, when it says about every file what is written. Older coordinators
// have none.
Status AddModelSignature(const Identity& identity, const v1::Release& release,
                         std::vector<MaterialisedFile>& files) {
  if (release.model_signature_json().empty()) {
    return absl::OkStatus();
  }
  StatusOr<manifest::ModelStatement> statement = manifest::OpenModelSignature(
      release.model_signature_json(), identity.signer.public_key());
  RETURN_IF_ERROR(Annotate(statement.status(), release.name() + ", model.sig"));
  std::vector<manifest::ModelFile> wanted;
  for (const MaterialisedFile& file : files) {
    const auto* blob = std::get_if<manifest::BlobName>(&file.content);
    wanted.push_back(
        {.path = file.path,
         .sha256 = blob != nullptr ? blob->sha256
                                   : crypto::Sha256Hex(
                                         std::get<std::string>(file.content))});
  }
  std::sort(wanted.begin(), wanted.end(),
            [](const auto& a, const auto& b) { return a.path < b.path; });
  if (statement->name != release.name() || statement->files != wanted) {
    return Unauthenticated(
        "{}: its model.sig is about {} with {} files, which are not the {} "
        "files of this release",
        release.name(), statement->name, statement->files.size(),
        wanted.size());
  }
  files.push_back({.path = manifest::kModelSignatureFile,
                   .content = release.model_signature_json()});
  return absl::OkStatus();
}

}  // namespace

StatusOr<FetchedRelease> FetchRelease(const FetchContext& context,
                                      const std::string& name,
                                      const ReleaseDirectory& directory) {
  FetchedRelease fetched;
  ASSIGN_OR_RETURN(fetched.resource, context.client.GetRelease(name));
  const v1::Release& release = fetched.resource;
  ASSIGN_OR_RETURN(fetched.manifest,
                   VerifyRelease(context.identity, release, context.clock));
  ASSIGN_OR_RETURN(const int64_t number,
                   manifest::ParseReleaseName(release.name()));
  const manifest::ReleaseManifest& manifest = fetched.manifest;
  ASSIGN_OR_RETURN(
      const VerifiedAnchor anchor,
      GetVerifiedAnchor(context, "anchors/" + manifest.anchor.name));
  if (anchor.digest != manifest.anchor.digest) {
    return Unauthenticated("{}: made for anchor {}, {} has digest {}",
                           release.name(), manifest.anchor.digest,
                           manifest.anchor.name, anchor.digest);
  }
  std::vector<MaterialisedFile> files = AnchorFiles(anchor.manifest, "anchor/");
  files.push_back({.path = "release.json", .content = release.manifest_json()});
  files.push_back(
      {.path = "release.dsse.json", .content = release.envelope_json()});
  files.push_back(
      {.path = "router.safetensors", .content = manifest.router_blob});
  for (const manifest::ReleaseManifest::Expert& expert : manifest.experts) {
    files.push_back({.path = "experts/" + expert.contribution + ".safetensors",
                     .content = expert.blob});
  }
  files.push_back({.path = "anchor/anchor.json", .content = anchor.json});
  RETURN_IF_ERROR(AddExpertManifests(context, release.name(), manifest, files));
  RETURN_IF_ERROR(AddModelSignature(context.identity, release, files));
  fetched.name = release.name();
  fetched.digest = release.digest();
  fetched.directory = directory(number);
  RETURN_IF_ERROR(FetchFolder(context, files, fetched.directory));
  return fetched;
}

}  // namespace tributary::contributor
