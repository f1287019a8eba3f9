#include "coordinator/service/release_signature.h"

#include <utility>
#include <vector>

#include "common/crypto/digest.h"
#include "common/manifest/anchor_manifest.h"
#include "common/manifest/model_signature.h"
#include "common/manifest/release_manifest.h"
#include "common/manifest/resource_name.h"
#include "coordinator/storage/anchor_store.h"
#include "coordinator/storage/contribution_store.h"

namespace tributary::coordinator {
namespace {

using manifest::ModelFile;

Status AddAnchor(Transaction& transaction,
                 const manifest::ReleaseManifest& release,
                 std::vector<ModelFile>& files) {
  const auto row = AnchorStore(transaction).Find(release.anchor.name);
  if (!row) {
    return DataLoss("anchors/{}: its manifest is gone", release.anchor.name);
  }
  ASSIGN_OR_RETURN(const manifest::AnchorManifest anchor,
                   manifest::AnchorManifest::FromJson(row->manifest_json));
  for (const manifest::AnchorManifest::File& file : anchor.files) {
    files.push_back(
        {.path = "anchor/" + file.path, .sha256 = file.blob.sha256});
  }
  files.push_back({.path = "anchor/anchor.json",
                   .sha256 = crypto::Sha256Hex(row->manifest_json)});
  return absl::OkStatus();
}

Status AddExperts(Transaction& transaction,
                  const manifest::ReleaseManifest& release,
                  std::vector<ModelFile>& files) {
  for (const manifest::ReleaseManifest::Expert& expert : release.experts) {
    const auto row = ContributionStore(transaction).Find(expert.contribution);
    if (!row) {
      return DataLoss("contributions/{}: its signed manifest is gone",
                      expert.contribution);
    }
    files.push_back({.path = "experts/" + expert.contribution + ".safetensors",
                     .sha256 = expert.blob.sha256});
    files.push_back({.path = "manifests/" + expert.contribution + ".dsse.json",
                     .sha256 = crypto::Sha256Hex(row->envelope_json)});
  }
  return absl::OkStatus();
}

StatusOr<std::string> SignReleaseFiles(const ServiceContext& context,
                                       Transaction& transaction,
                                       const ReleaseRow& release) {
  ASSIGN_OR_RETURN(const manifest::ReleaseManifest content,
                   manifest::ReleaseManifest::FromJson(release.manifest_json));
  manifest::ModelStatement statement = {
      .name = manifest::ReleaseName(release.number)};
  std::vector<ModelFile>& files = statement.files;
  files.push_back({.path = "release.json",
                   .sha256 = crypto::Sha256Hex(release.manifest_json)});
  files.push_back({.path = "release.dsse.json",
                   .sha256 = crypto::Sha256Hex(release.envelope_json)});
  files.push_back(
      {.path = "router.safetensors", .sha256 = content.router_blob.sha256});
  RETURN_IF_ERROR(AddAnchor(transaction, content, files));
  RETURN_IF_ERROR(AddExperts(transaction, content, files));
  const auto keys = context.trust.keys();
  ASSIGN_OR_RETURN(const crypto::Certificate certificate,
                   crypto::Certificate::FromPem(keys->signer_certificate_pem));
  return manifest::SignModel(std::move(statement),
                             {.key = context.trust.signer(),
                              .certificate = certificate,
                              .ca = keys->ca.certificate()});
}

}  // namespace

StatusOr<std::string> ReleaseSignatures::Of(const ServiceContext& context,
                                            Transaction& transaction,
                                            const ReleaseRow& release) {
  const std::string signer = context.trust.keys()->signer_certificate_pem;
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    const auto known = entries_.find(release.number);
    if (known != entries_.end() &&
        known->second.signer_certificate_pem == signer) {
      return known->second.bundle_json;
    }
  }
  ASSIGN_OR_RETURN(std::string bundle,
                   SignReleaseFiles(context, transaction, release));
  const std::lock_guard<std::mutex> lock(mutex_);
  entries_[release.number] = {signer, bundle};
  return bundle;
}

}  // namespace tributary::coordinator
