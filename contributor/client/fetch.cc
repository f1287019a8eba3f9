#include "contributor/client/fetch.h"

#include <set>
#include <vector>

#include "common/base/files.h"
#include "common/crypto/digest.h"
#include "common/manifest/resource_name.h"
#include "contributor/cache/materialise.h"

namespace tributary::contributor {
namespace fs = std::filesystem;
namespace {

// Beside {digest}/, so that an anchor is known again without a network.
fs::path ManifestPath(const fs::path& root, const std::string& digest) {
  return root / (digest + ".json");
}

Status DownloadAll(const FetchContext& context,
                   const std::vector<MaterialisedFile>& files) {
  uint64_t total = 0;
  std::set<manifest::BlobName> blobs;
  for (const MaterialisedFile& file : files) {
    const auto* blob = std::get_if<manifest::BlobName>(&file.content);
    if (blob != nullptr && blobs.insert(*blob).second) {
      total += blob->size;
    }
  }
  uint64_t before = 0;
  for (const manifest::BlobName& blob : blobs) {
    RETURN_IF_ERROR(context.client.Download(
        blob, context.cache, [&](uint64_t done, uint64_t /*of_blob*/) {
          if (context.progress) {
            context.progress(before + done, total);
          }
        }));
    before += blob.size;
    if (context.progress) {
      context.progress(before, total);
    }
  }
  return absl::OkStatus();
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
  fetched.name = release.name();
  fetched.digest = release.digest();
  fetched.directory = directory(number);
  RETURN_IF_ERROR(FetchFolder(context, files, fetched.directory));
  return fetched;
}

}  // namespace tributary::contributor
