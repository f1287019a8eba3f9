#include "tests/contributor/training/tiny_run.h"

#include "common/model/load.h"
#include "common/model_format/parameter_names.h"
#include "contributor/calibration/calibrate.h"
#include "contributor/calibration/tensor_file.h"
#include "contributor/data/prepare_text.h"

namespace tributary::contributor {
namespace {

const std::filesystem::path kFixtures =
    std::filesystem::current_path() / "tests/fixtures";

}  // namespace

std::filesystem::path TinyRun::AnchorDirectory() {
  return kFixtures / "tiny_anchor";
}

TinyRun::TinyRun(const std::string& domain)
    : folder_(*TemporaryDirectory::Create("training")),
      anchor_(*model::LoadModel(AnchorDirectory())) {
  const auto prepared = PrepareText(
      {.tokenizer_path = AnchorDirectory() / "tokenizer.json",
       .train_paths = {kFixtures / "text" / (domain + ".jsonl")},
       .heldout_paths = {kFixtures / "text" / (domain + "_heldout.jsonl")},
       .window_tokens = 64,
       .max_train_windows = 8,
       .max_heldout_windows = 4,
       .max_windows_per_document = 1},
      Path("tokens.safetensors"));
  TORCH_CHECK(prepared.ok(), prepared.status().ToString());
  const auto calibration =
      Calibrate(anchor_,
                {.tokens_path = Path("tokens.safetensors"),
                 .first_layer = kFirstLayer,
                 .sample_stride = 2,
                 .trunk_path = Path("trunk.safetensors"),
                 .importance_path = Path("importance.safetensors"),
                 .activations_path = Path("activations.safetensors")},
                [](double) { return absl::OkStatus(); });
  TORCH_CHECK(calibration.ok(), calibration.status().ToString());
  anchor_loss_ = calibration->heldout_log_loss;
  at::manual_seed(5);
  NamedTensors rows;
  for (int64_t l = 0; l < anchor_.num_layers(); ++l) {
    rows.emplace_back(
        model_format::RouterWeight(l),
        at::randn({anchor_.config.hidden_size}) * (l < kFirstLayer ? 0 : 0.05));
    rows.emplace_back(model_format::RouterBias(l), at::zeros({}));
  }
  TORCH_CHECK(WriteTensors(Path("router.safetensors"), rows).ok());
}

InitialExpertOptions TinyRun::Initial(int64_t width) const {
  return {.model_directory = AnchorDirectory(),
          .importance_path = Path("importance.safetensors"),
          .router_path = Path("router.safetensors"),
          .first_layer = kFirstLayer,
          .widths = {width}};
}

TrainerOptions TinyRun::Trainer(const std::string& name) const {
  return {
      .optimizer = {.warmup_steps = 2, .checkpoint_steps = 2},
      .seed = 42,
      .expert_path = Path(name + ".safetensors"),
      .router_path = Path(name + ".router.safetensors"),
      .checkpoint_path = Path(name + ".checkpoint.safetensors"),
      .best_path = Path(name + ".best.safetensors"),
      .loss_path = Path(name + ".loss.jsonl"),
      .curve_path = Path(name + ".loss.svg"),
      .report = [](double, const std::string&) { return absl::OkStatus(); }};
}

std::map<std::string, at::Tensor> ReadAll(const std::filesystem::path& path) {
  std::map<std::string, at::Tensor> tensors;
  const auto file = OpenTensorFile(path);
  TORCH_CHECK(file.ok(), file.status().ToString());
  for (const auto& info : (*file)->tensors()) {
    tensors[info.name] =
        MapTensor(*file, info.name)->to(at::kFloat, false, /*copy=*/true);
  }
  return tensors;
}

}  // namespace tributary::contributor
