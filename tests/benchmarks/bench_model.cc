// Whole forward passes of the mixture that BENCHMARK_MODEL names, made by
// peers/mixture.py.

#include <torch/torch.h>

#include <cstdlib>

#include "benchmark/benchmark.h"
#include "common/kernels/products.h"
#include "common/kernels/scratch.h"
#include "common/model/load.h"
#include "common/model/moe.h"
#include "common/model/tensor_io.h"
#include "tests/benchmarks/interleave.h"
#include "tests/benchmarks/sgemm.h"

namespace tributary::benchmarks {
namespace {

using at::Tensor;

double WeightBytes(const model::CausalLm& lm) {
  double bytes = static_cast<double>(lm.embed_VD.nbytes());
  bytes += lm.head_VD.is_same(lm.embed_VD)
               ? 0
               : static_cast<double>(lm.head_VD.nbytes());
  for (const auto& layer : lm.layers) {
    for (const Tensor& w : {layer.q_proj_HD, layer.k_proj_HD, layer.v_proj_HD,
                            layer.o_proj_DH, layer.router_ED}) {
      bytes += static_cast<double>(w.nbytes());
    }
    for (const auto& expert : layer.experts) {
      bytes += static_cast<double>(expert->gate_FD.nbytes() +
                                   expert->up_FD.nbytes() +
                                   expert->down_DF.nbytes());
    }
  }
  return bytes;
}

// Experts as wide as `widths` says, where the file pads them with zeros.
void Trim(model::CausalLm& lm, const Tensor& widths) {
  for (auto& layer : lm.layers) {
    for (int64_t e = 0; e < widths.numel(); ++e) {
      model::Ffn& ffn = *layer.experts[e];
      const auto width = widths[e].item<int64_t>();
      ffn.gate_FD = ffn.gate_FD.narrow(0, 0, width).contiguous();
      ffn.up_FD = ffn.up_FD.narrow(0, 0, width).contiguous();
      ffn.down_DF = ffn.down_DF.narrow(1, 0, width).contiguous();
    }
  }
}

struct Loaded {
  model::CausalLm lm;
  Tensor ids;
  Tensor last_logits;  // of the last position of each row, by the peer
};

StatusOr<Loaded> Load(at::ScalarType dtype) {
  const char* directory = std::getenv("BENCHMARK_MODEL");
  if (directory == nullptr) {
    return InvalidArgument("BENCHMARK_MODEL is not set; run by run.py");
  }
  Loaded loaded;
  ASSIGN_OR_RETURN(loaded.lm, model::LoadModel(directory, {.dtype = dtype}));
  const std::filesystem::path path =
      std::filesystem::path(directory) / "reference.safetensors";
  ASSIGN_OR_RETURN(const auto file, safetensors::File::Open(path));
  ASSIGN_OR_RETURN(loaded.ids, model::ReadTensor(*file, "input_ids"));
  ASSIGN_OR_RETURN(loaded.last_logits, model::ReadTensor(*file, "last_logits"));
  ASSIGN_OR_RETURN(const Tensor widths, model::ReadTensor(*file, "widths"));
  Trim(loaded.lm, widths);
  return loaded;
}

Tensor Forward(const Loaded& loaded) {
  return model::Logits(loaded.lm, model::HiddenStates(loaded.lm, loaded.ids));
}

// Argument: 0 fp32, 1 weights stored as bf16, 2 products in bf16 too. Reports,
// besides times, the bytes of weights and buffers, and the largest distance to
// the peer's logits.
void Model(benchmark::State& state) {
  at::NoGradGuard no_gradients;
  const auto loaded = Load(state.range(0) == 0 ? at::kFloat : at::kBFloat16);
  if (!loaded.ok()) {
    state.SkipWithError(loaded.status().ToString().c_str());
    return;
  }
  kernels::SetProductPrecision(state.range(0) == 2
                                   ? kernels::ProductPrecision::kBf16
                                   : kernels::ProductPrecision::kFp32);
  const Tensor logits = Forward(*loaded);
  state.counters["difference"] =
      (logits.select(1, logits.size(1) - 1) - loaded->last_logits)
          .abs()
          .max()
          .item<double>();
  RunInTurn(
      state,
      {{"model",
        [&] { benchmark::DoNotOptimize(Forward(*loaded).const_data_ptr()); }},
       {"sgemm", MakeSgemm(2048, 2048, 2048)}});
  kernels::SetProductPrecision(kernels::ProductPrecision::kFp32);
  state.counters["sgemm_flops"] = ProductFlops(2048, 2048, 2048);
  state.counters["weight_bytes"] = WeightBytes(loaded->lm);
  state.counters["buffer_bytes"] = static_cast<double>(kernels::ScratchBytes());
}
BENCHMARK(Model)->Arg(0)->Arg(1)->Arg(2)->Iterations(3)->UseManualTime()->Unit(
    benchmark::kMillisecond);

// fp32 and bf16 storage in turn, in one process.
void ModelStorage(benchmark::State& state) {
  at::NoGradGuard no_gradients;
  const auto narrow = Load(at::kBFloat16);
  const auto wide = Load(at::kFloat);
  if (!narrow.ok() || !wide.ok()) {
    state.SkipWithError("BENCHMARK_MODEL cannot be loaded");
    return;
  }
  RunInTurn(
      state,
      {{"bf16",
        [&] { benchmark::DoNotOptimize(Forward(*narrow).const_data_ptr()); }},
       {"fp32",
        [&] { benchmark::DoNotOptimize(Forward(*wide).const_data_ptr()); }}});
  state.counters["bf16_bytes"] = WeightBytes(narrow->lm);
  state.counters["fp32_bytes"] = WeightBytes(wide->lm);
  state.counters["buffer_bytes"] = static_cast<double>(kernels::ScratchBytes());
}
BENCHMARK(ModelStorage)
    ->Iterations(kRounds)
    ->UseManualTime()
    ->Unit(benchmark::kMillisecond);

// The MoE of the first layer alone, on states that the peer wrote.
void Experts(benchmark::State& state) {
  at::NoGradGuard no_gradients;
  const auto loaded = Load(at::kFloat);
  if (!loaded.ok()) {
    state.SkipWithError(loaded.status().ToString().c_str());
    return;
  }
  torch::manual_seed(1);
  const Tensor x =
      at::randn({loaded->ids.numel(), loaded->lm.config.hidden_size});
  RunInTurn(state, {{"experts", [&] {
                       benchmark::DoNotOptimize(
                           model::RunFeedforward(loaded->lm, 0, x, nullptr)
                               .const_data_ptr());
                     }}});
}
BENCHMARK(Experts)->Iterations(3)->UseManualTime()->Unit(
    benchmark::kMillisecond);

}  // namespace
}  // namespace tributary::benchmarks
