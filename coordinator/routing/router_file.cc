#include "coordinator/routing/router_file.h"

#include "common/model/tensor_io.h"
#include "common/model_format/parameter_names.h"

namespace tributary::coordinator {

Status WriteRouterFile(const std::vector<RouterRows>& layers,
                       const std::filesystem::path& path) {
  model::NamedTensors tensors;
  for (size_t l = 0; l < layers.size(); ++l) {
    const auto layer = static_cast<int64_t>(l);
    tensors.emplace_back(model_format::RouterWeight(layer),
                         layers[l].rows_ED.to(at::kFloat).contiguous());
    tensors.emplace_back(model_format::RouterBias(layer),
                         layers[l].bias_E.to(at::kFloat).contiguous());
  }
  return model::WriteTensors(path, tensors);
}

}  // namespace tributary::coordinator
