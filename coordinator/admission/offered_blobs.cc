#include "coordinator/admission/offered_blobs.h"

#include <nlohmann/json.hpp>

#include "common/base/json.h"

namespace tributary::coordinator {
namespace {

constexpr char kStatistics[] = "router_statistics";
constexpr uint64_t kHeaderBytes = 1 << 20;

}  // namespace

StatusOr<std::optional<BlobName>> StatisticsOf(const ContributionRow& row) {
  std::optional<BlobName> none;
  // The manifest was read strictly when it was offered.
  if (row.manifest_json.find(kStatistics) == std::string::npos) {
    return none;
  }
  ASSIGN_OR_RETURN(const Json value, ParseJson(row.manifest_json));
  const auto field = value.find(kStatistics);
  if (field == value.end() || !field->is_string()) {
    return none;
  }
  ASSIGN_OR_RETURN(BlobName name, BlobName::Parse(field->get<std::string>()));
  return name;
}

StatusOr<std::vector<BlobName>> OfferedBlobs(const ContributionRow& row) {
  std::vector<BlobName> blobs;
  ASSIGN_OR_RETURN(blobs.emplace_back(), BlobName::Parse(row.blob));
  ASSIGN_OR_RETURN(const std::optional<BlobName> statistics, StatisticsOf(row));
  if (statistics) {
    blobs.push_back(*statistics);
  }
  return blobs;
}

uint64_t MaxStatisticsBytes(const manifest::AnchorManifest& anchor) {
  const auto hidden = static_cast<uint64_t>(anchor.model.hidden_size);
  return kHeaderBytes + static_cast<uint64_t>(anchor.model.num_layers) *
                            sizeof(double) * hidden * (hidden + 1);
}

}  // namespace tributary::coordinator
