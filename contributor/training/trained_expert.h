#pragma once

// What is trained of a model: the matrices of its last expert and, when wanted,
// that expert's router rows. All else is frozen.

#include <filesystem>
#include <vector>

#include "ATen/ATen.h"
#include "common/base/status.h"
#include "common/model/causal_lm.h"
#include "contributor/calibration/tensor_file.h"
#include "contributor/training/trained_layers.h"

namespace tributary::contributor {

struct RowTraining {
  bool trained = false;
  // With a bias per row, held at or below 0 (FlexOlmo).
  bool bias = false;
  // Weight of sum over layers of mean_T logsumexp(router logits)^2.
  double z_loss = 1e-3;
};

class TrainedExpert {
 public:
  // Makes the tensors leaves that require gradients, until the object goes.
  // INVALID_ARGUMENT when the expert has no weights in any layer.
  static StatusOr<std::unique_ptr<TrainedExpert>> Create(
      model::CausalLm& lm, const RowTraining& rows);
  ~TrainedExpert();
  TrainedExpert(const TrainedExpert&) = delete;
  TrainedExpert& operator=(const TrainedExpert&) = delete;

  // All leaves by name, as in an expert file: matrices, then rows.
  const NamedTensors& leaves() const { return leaves_; }
  std::vector<at::Tensor> parameters() const;
  // The matrices alone.
  NamedTensors matrices() const;
  // Row and bias of every layer of the model.
  NamedTensors router() const;
  // One entry per layer, empty when rows are not trained.
  const std::vector<TrainedRow>& rows() const { return rows_; }

  // To be called when leaves have changed: holds biases at or below 0 and
  // copies rows into the model.
  void Settle();

  // The model with the experts' first `width` channels, sharing its tensors.
  model::CausalLm Prefix(int64_t width) const;

  // Copies tensors (all leaves or the matrices alone, in their order) from a
  // file's. INVALID_ARGUMENT naming the file when they are others.
  Status Load(const std::filesystem::path& file, const NamedTensors& stored,
              const NamedTensors& into) const;

 private:
  explicit TrainedExpert(model::CausalLm& lm) : lm_(lm) {}

  model::CausalLm& lm_;
  NamedTensors leaves_;
  size_t matrix_count_ = 0;
  std::vector<TrainedRow> rows_;
};

}  // namespace tributary::contributor
