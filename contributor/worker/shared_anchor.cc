#include "contributor/worker/shared_anchor.h"

#include "common/model/load.h"
#include "common/model/load_release.h"
#include "common/model/runtime.h"

namespace tributary::contributor {
namespace {

struct LoadedAnchor {
  std::filesystem::path directory;
  int64_t first_layer = 0;
  at::ScalarType dtype = at::kFloat;
  model::CausalLm lm;
};

}  // namespace

StatusOr<model::CausalLm> SharedAnchor(const worker::TaskContext& context,
                                       const std::filesystem::path& directory,
                                       int64_t first_layer,
                                       at::ScalarType dtype) {
  ASSIGN_OR_RETURN(const at::Device device,
                   model::PrepareRuntime(
                       {.threads = context.threads, .device = context.device}));
  const auto* loaded = std::any_cast<LoadedAnchor>(&context.shared);
  if (loaded != nullptr && loaded->directory == directory &&
      loaded->first_layer <= first_layer && loaded->dtype == dtype) {
    return loaded->lm;
  }
  if (model::IsRelease(directory)) {
    return InvalidArgument(
        "{}: is a release, wanted the directory of an anchor",
        directory.string());
  }
  context.shared.reset();  // not two of them at a time
  context.Report(0, "loading the anchor");
  ASSIGN_OR_RETURN(
      model::CausalLm lm,
      model::LoadModel(directory, {.first_layer = first_layer,
                                   .embedding = first_layer == 0,
                                   .device = device,
                                   .dtype = dtype,
                                   .cancellation = &context.cancellation}));
  if (lm.config.is_moe()) {
    return InvalidArgument(
        "{}: is a mixture of experts, wanted a dense model as the anchor",
        directory.string());
  }
  context.shared = LoadedAnchor{directory, first_layer, dtype, lm};
  return lm;
}

}  // namespace tributary::contributor
