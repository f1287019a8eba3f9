#include "contributor/calibration/window_documents.h"

#include "contributor/calibration/tensor_file.h"

namespace tributary::contributor {

using at::Tensor;

StatusOr<Tensor> ReadDocuments(
    const std::shared_ptr<const safetensors::File>& file,
    const std::string& split, const Tensor& ids_BS) {
  const std::string name = split + "_documents";
  if (file->Find(name) == nullptr) {
    return Tensor();
  }
  ASSIGN_OR_RETURN(const Tensor stored, MapTensor(file, name));
  if (!stored.sizes().equals(ids_BS.sizes()) ||
      (stored.scalar_type() != at::kInt && stored.scalar_type() != at::kLong)) {
    return InvalidArgument(
        "{}: tensor {}: wanted int32 of the shape of the tokens [{}, {}]",
        file->path().string(), name, ids_BS.size(0), ids_BS.size(1));
  }
  const Tensor documents = stored.to(at::kLong, false, /*copy=*/true);
  const int64_t last = documents.size(1) - 1;
  if (documents.narrow(1, 1, last)
          .lt(documents.narrow(1, 0, last))
          .any()
          .item<bool>()) {
    return InvalidArgument(
        "{}: tensor {}: document numbers of a window must ascend",
        file->path().string(), name);
  }
  if (!HasTarget(documents).any(1).all().item<bool>()) {
    return InvalidArgument(
        "{}: tensor {}: a window holds documents of one token each, nothing "
        "can be predicted in it; prepare the text with longer documents",
        file->path().string(), name);
  }
  return documents;
}

}  // namespace tributary::contributor
