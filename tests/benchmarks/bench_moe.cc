// The expert layer alone: ragged, uniform and padded widths against their bare
// products; the router against its own.

#include <torch/torch.h>

#include "benchmark/benchmark.h"
#include "common/model/moe.h"
#include "tests/benchmarks/interleave.h"
#include "tests/benchmarks/sgemm.h"

namespace tributary::benchmarks {
namespace {

using at::Tensor;

constexpr int64_t kTokens = 2048;
constexpr int64_t kHidden = 1024;
constexpr int64_t kPadded = 2752;
const std::vector<int64_t> kRagged = {2752, 2048, 1376, 512};

// One layer of experts of these widths; the router is the same for all.
model::CausalLm MakeLayer(const std::vector<int64_t>& widths) {
  torch::manual_seed(3);
  model::CausalLm lm;
  lm.config.hidden_size = kHidden;
  lm.top_k = 2;
  model::DecoderLayer layer;
  layer.router_ED =
      at::randn({static_cast<int64_t>(widths.size()), kHidden}) * 0.05;
  for (const int64_t width : widths) {
    layer.experts.emplace_back(
        model::Ffn{.gate_FD = at::randn({width, kHidden}) * 0.03,
                   .up_FD = at::randn({width, kHidden}) * 0.03,
                   .down_DF = at::randn({kHidden, width}) * 0.03});
  }
  lm.layers.push_back(std::move(layer));
  return lm;
}

std::vector<int64_t> TokensPerExpert(const model::CausalLm& lm,
                                     const Tensor& x) {
  const Tensor counts =
      model::Route(lm, 0, x, false)
          .ids_TK.flatten()
          .bincount({}, static_cast<int64_t>(lm.layers[0].experts.size()));
  const int64_t* data = counts.const_data_ptr<int64_t>();
  return {data, data + counts.numel()};
}

// The products that the layer cannot do without, one after the other.
std::function<void()> MakeProducts(const std::vector<int64_t>& widths,
                                   const std::vector<int64_t>& tokens) {
  std::vector<std::function<void()>> products;
  for (size_t e = 0; e < widths.size(); ++e) {
    products.push_back(MakeSgemm(tokens[e], kHidden, widths[e]));
    products.push_back(MakeSgemm(tokens[e], kHidden, widths[e]));
    products.push_back(MakeSgemm(tokens[e], widths[e], kHidden));
  }
  return [products] {
    for (const auto& product : products) {
      product();
    }
  };
}

double UsefulFlops(const std::vector<int64_t>& widths,
                   const std::vector<int64_t>& tokens) {
  double flops = 0;
  for (size_t e = 0; e < widths.size(); ++e) {
    flops += 3 * ProductFlops(tokens[e], kHidden, widths[e]);
  }
  return flops;
}

void ExpertLayer(benchmark::State& state) {
  at::NoGradGuard no_gradients;
  const auto count = static_cast<int64_t>(kRagged.size());
  torch::manual_seed(1);
  const Tensor x = at::randn({kTokens, kHidden});
  const auto tokens = TokensPerExpert(MakeLayer(kRagged), x);
  double mean = 0;
  for (const int64_t width : kRagged) {
    mean += static_cast<double>(width) / static_cast<double>(count);
  }
  const std::vector<std::pair<std::string, std::vector<int64_t>>> kinds = {
      {"ragged", kRagged},
      {"even", std::vector<int64_t>(count, static_cast<int64_t>(mean))},
      {"padded", std::vector<int64_t>(count, kPadded)}};
  std::vector<model::CausalLm> layers;
  std::vector<Contestant> contestants;
  for (const auto& [name, widths] : kinds) {
    layers.push_back(MakeLayer(widths));
    state.counters[name + "_flops"] = UsefulFlops(widths, tokens);
  }
  for (size_t i = 0; i < kinds.size(); ++i) {
    contestants.push_back({kinds[i].first, [&layers, &x, i] {
                             benchmark::DoNotOptimize(
                                 model::RunFeedforward(layers[i], 0, x, nullptr)
                                     .const_data_ptr());
                           }});
    contestants.push_back(
        {kinds[i].first + "_products", MakeProducts(kinds[i].second, tokens)});
  }
  contestants.push_back({"sgemm", MakeSgemm(2048, 2048, 2048)});
  state.counters["sgemm_flops"] = ProductFlops(2048, 2048, 2048);
  RunInTurn(state, contestants);
}
BENCHMARK(ExpertLayer)
    ->Iterations(kRounds)
    ->UseManualTime()
    ->Unit(benchmark::kMillisecond);

void Router(benchmark::State& state) {
  at::NoGradGuard no_gradients;
  const int64_t experts = state.range(0);
  torch::manual_seed(1);
  const Tensor x = at::randn({kTokens, kHidden});
  model::CausalLm lm;
  lm.top_k = 2;
  lm.layers.emplace_back();
  lm.layers[0].router_ED = at::randn({experts, kHidden}) * 0.05;
  RunInTurn(state,
            {{"router",
              [&] {
                benchmark::DoNotOptimize(
                    model::Route(lm, 0, x, false).weights_TK.const_data_ptr());
              }},
             {"product", MakeSgemm(kTokens, kHidden, experts)},
             {"sgemm", MakeSgemm(2048, 2048, 2048)}});
  state.counters["product_flops"] = ProductFlops(kTokens, kHidden, experts);
  state.counters["sgemm_flops"] = ProductFlops(2048, 2048, 2048);
}
BENCHMARK(Router)->Arg(64)->Arg(512)->Iterations(51)->UseManualTime()->Unit(
    benchmark::kMillisecond);

}  // namespace
}  // namespace tributary::benchmarks
