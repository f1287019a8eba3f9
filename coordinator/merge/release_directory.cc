#include "coordinator/merge/release_directory.h"

#include <utility>

#include "common/base/files.h"
#include "common/crypto/digest.h"
#include "common/manifest/expert_manifest.h"

namespace tributary::coordinator {
namespace {

namespace fs = std::filesystem;
using manifest::BlobName;

constexpr uint64_t kMaxManifestBytes = 64u << 20;

Status RemoveTree(const fs::path& folder) {
  std::error_code error;
  fs::remove_all(folder, error);
  return error ? ErrnoStatus(error.value(), "remove " + folder.string())
               : absl::OkStatus();
}

Status RenameFolder(const fs::path& from, const fs::path& to) {
  std::error_code error;
  fs::rename(from, to, error);
  if (error) {
    return ErrnoStatus(error.value(), "rename to " + to.string());
  }
  return SyncDirectory(to.parent_path());
}

fs::path TemporaryFor(const fs::path& folder) {
  return folder.parent_path() / ("." + folder.filename().string() + ".tmp");
}

Status FillAnchor(const manifest::AnchorManifest& anchor,
                  const PlaceBlob& place, const fs::path& folder) {
  RETURN_IF_ERROR(MakeDirectories(folder));
  for (const manifest::AnchorManifest::File& file : anchor.files) {
    const fs::path target = folder / file.path;
    RETURN_IF_ERROR(MakeDirectories(target.parent_path()));
    RETURN_IF_ERROR(place(file.blob, target));
  }
  ASSIGN_OR_RETURN(const std::string json, anchor.ToJson());
  return WriteFileAtomic(folder / kAnchorManifestFile, json);
}

Status CheckFile(const fs::path& path, const BlobName& expected,
                 VerifiedRelease& result) {
  ASSIGN_OR_RETURN(const crypto::FileDigest got, crypto::DigestFile(path));
  if (got.sha256 != expected.sha256 || got.size != expected.size) {
    return InvalidArgument(
        "{}: got SHA-256 {} and {} bytes, the manifest wants {} and {}; the "
        "file was altered, fetch the release again",
        path.string(), got.sha256, got.size, expected.sha256, expected.size);
  }
  ++result.files;
  result.bytes += got.size;
  return absl::OkStatus();
}

Status CheckExperts(const ReleaseDirectory& names, VerifiedRelease& result) {
  for (const auto& expert : result.release.experts) {
    RETURN_IF_ERROR(
        CheckFile(names.expert(expert.contribution), expert.blob, result));
    const fs::path envelope = names.expert_manifest(expert.contribution);
    const StatusOr<std::string> json = ReadFile(envelope, kMaxManifestBytes);
    if (absl::IsNotFound(json.status())) {
      result.unchecked.push_back(envelope.string());
      continue;
    }
    RETURN_IF_ERROR(json.status());
    ASSIGN_OR_RETURN(const manifest::ExpertManifest manifest,
                     manifest::ReadExpertManifestUnverified(*json));
    ASSIGN_OR_RETURN(const std::string digest, manifest.Digest());
    if (digest != expert.manifest_digest) {
      return InvalidArgument(
          "{}: holds a manifest with digest {}, the release names {}",
          envelope.string(), digest, expert.manifest_digest);
    }
  }
  return absl::OkStatus();
}

Status CheckAnchor(const ReleaseDirectory& names, VerifiedRelease& result) {
  const fs::path path = names.anchor() / kAnchorManifestFile;
  const StatusOr<std::string> json = ReadFile(path, kMaxManifestBytes);
  if (absl::IsNotFound(json.status())) {
    result.unchecked.push_back(names.anchor().string());
    return absl::OkStatus();
  }
  RETURN_IF_ERROR(json.status());
  ASSIGN_OR_RETURN(const manifest::AnchorManifest anchor,
                   manifest::AnchorManifest::FromJson(*json));
  if (const std::string digest = crypto::Sha256Hex(*json);
      digest != result.release.anchor.digest) {
    return InvalidArgument("{}: has digest {}, the release names anchor {}",
                           path.string(), digest, result.release.anchor.digest);
  }
  for (const auto& file : anchor.files) {
    RETURN_IF_ERROR(CheckFile(names.anchor() / file.path, file.blob, result));
  }
  return absl::OkStatus();
}

}  // namespace

Status PlaceAnchor(const manifest::AnchorManifest& anchor,
                   const PlaceBlob& place, const fs::path& folder) {
  std::error_code error;
  if (fs::exists(folder / kAnchorManifestFile, error)) {
    return absl::OkStatus();
  }
  const fs::path temporary = TemporaryFor(folder);
  RETURN_IF_ERROR(RemoveTree(temporary));
  RETURN_IF_ERROR(FillAnchor(anchor, place, temporary));
  RETURN_IF_ERROR(RemoveTree(folder));
  return RenameFolder(temporary, folder);
}

Status PlaceRelease(const ReleaseParts& parts, const PlaceBlob& place,
                    const fs::path& folder) {
  const fs::path temporary = TemporaryFor(folder);
  RETURN_IF_ERROR(RemoveTree(temporary));
  const ReleaseDirectory names(temporary);
  RETURN_IF_ERROR(FillAnchor(parts.anchor, place, names.anchor()));
  RETURN_IF_ERROR(place(parts.release.router_blob, names.router()));
  RETURN_IF_ERROR(MakeDirectories(temporary / "experts"));
  RETURN_IF_ERROR(MakeDirectories(temporary / "manifests"));
  for (const auto& expert : parts.release.experts) {
    RETURN_IF_ERROR(place(expert.blob, names.expert(expert.contribution)));
    const auto envelope = parts.expert_envelopes.find(expert.contribution);
    if (envelope == parts.expert_envelopes.end()) {
      return Internal("contributions/{}: its signed manifest is missing",
                      expert.contribution);
    }
    RETURN_IF_ERROR(WriteFileAtomic(names.expert_manifest(expert.contribution),
                                    envelope->second));
  }
  ASSIGN_OR_RETURN(const std::string json, parts.release.ToJson());
  RETURN_IF_ERROR(WriteFileAtomic(names.manifest(), json));
  RETURN_IF_ERROR(RemoveTree(folder));
  return RenameFolder(temporary, folder);
}

Status RemovePlaced(const fs::path& folder) {
  RETURN_IF_ERROR(RemoveTree(TemporaryFor(folder)));
  return RemoveTree(folder);
}

StatusOr<VerifiedRelease> VerifyRelease(const fs::path& folder,
                                        const crypto::PublicKey& signer) {
  const ReleaseDirectory names(folder);
  VerifiedRelease result;
  ASSIGN_OR_RETURN(const std::string json,
                   ReadFile(names.manifest(), kMaxManifestBytes));
  ASSIGN_OR_RETURN(result.release, manifest::ReleaseManifest::FromJson(json));
  result.digest = crypto::Sha256Hex(json);
  ASSIGN_OR_RETURN(const std::string envelope,
                   ReadFile(names.envelope(), kMaxManifestBytes));
  ASSIGN_OR_RETURN(result.statement, manifest::OpenRelease(envelope, signer));
  if (result.statement.manifest_digest != result.digest) {
    return InvalidArgument(
        "{}: has digest {}, the signed statement of {} names {}",
        names.manifest().string(), result.digest, result.statement.release,
        result.statement.manifest_digest);
  }
  RETURN_IF_ERROR(
      CheckFile(names.router(), result.release.router_blob, result));
  RETURN_IF_ERROR(CheckExperts(names, result));
  RETURN_IF_ERROR(CheckAnchor(names, result));
  return result;
}

}  // namespace tributary::coordinator
