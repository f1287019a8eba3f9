#include "coordinator/admission/gates.h"

#include "common/base/text.h"
#include "common/manifest/expert_file_check.h"
#include "common/safetensors/reader.h"
#include "coordinator/admission/offered_blobs.h"
#include "coordinator/storage/settings.h"

namespace tributary::coordinator {

Status CheckOffer(const manifest::ExpertManifest& expert,
                  const manifest::AnchorManifest& anchor) {
  if (expert.blob.size > kMaxExpertBytes) {
    return InvalidArgument("blob: got {}, wanted at most {}",
                           HumanBytes(expert.blob.size),
                           HumanBytes(kMaxExpertBytes));
  }
  if (const uint64_t limit = MaxStatisticsBytes(anchor);
      expert.router_statistics && expert.router_statistics->size > limit) {
    return InvalidArgument("router_statistics: got {}, wanted at most {}",
                           HumanBytes(expert.router_statistics->size),
                           HumanBytes(limit));
  }
  return manifest::CheckExpertForAnchor(expert, anchor);
}

Status CheckWidths(const manifest::ExpertManifest& expert,
                   std::optional<int64_t> max_width) {
  for (size_t l = 0; max_width && l < expert.widths.size(); ++l) {
    if (expert.widths[l] > *max_width) {
      return InvalidArgument(
          "widths: layer {} has {} channels, contributors/{} may have at most "
          "{}; make a narrower expert or ask the operator",
          l, expert.widths[l], expert.contributor, *max_width);
    }
  }
  return absl::OkStatus();
}

Status CheckOfferedFile(const std::filesystem::path& path,
                        const manifest::ExpertManifest& expert,
                        const CancellationToken& cancellation) {
  StatusOr<std::shared_ptr<const safetensors::File>> file =
      safetensors::File::Open(path);
  if (!file.ok()) {
    // The contributor is told this: without the coordinator's own path.
    std::string message(file.status().message());
    if (const std::string prefix = path.string() + ": ";
        message.rfind(prefix, 0) == 0) {
      message.erase(0, prefix.size());
    }
    return Status(file.status().code(), message);
  }
  if (!(*file)->metadata().empty()) {
    return InvalidArgument("the file has __metadata__, wanted none");
  }
  return manifest::CheckExpertFile(expert, **file, &cancellation);
}

GateResult GateFrom(const std::string& gate, const Status& status,
                    const std::string& detail) {
  return {.gate = gate,
          .passed = status.ok(),
          .detail = status.ok() ? detail : std::string(status.message())};
}

}  // namespace tributary::coordinator
