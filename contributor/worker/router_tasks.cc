#include "contributor/calibration/compare_rows.h"
#include "contributor/worker/tasks.h"

namespace tributary::contributor {
namespace {

Status Compare(const job::Task& task, const worker::TaskContext& /*context*/,
               job::TaskResult* result) {
  const job::CompareRows& request = task.compare_rows();
  CompareRowsOptions options = {.activations_path = request.activations_path(),
                                .router_path = request.router_path()};
  options.contributions.assign(request.contributions().begin(),
                               request.contributions().end());
  options.own.assign(request.own().begin(), request.own().end());
  ASSIGN_OR_RETURN(const RowComparison found, CompareRows(options));
  auto* out = result->mutable_compare_rows();
  if (found.mean_best_logit) {
    out->set_mean_best_logit(*found.mean_best_logit);
  }
  for (const RowComparison::Layer& layer : found.layers) {
    auto* entry = out->add_layers();
    entry->set_layer(static_cast<int32_t>(layer.layer));
    entry->set_mean_best_logit(layer.mean_best_logit);
    entry->set_mean_own_logit(layer.mean_own_logit);
  }
  for (const RowComparison::Row& row : found.rows) {
    auto* entry = out->add_rows();
    entry->set_contribution(row.contribution);
    entry->set_mean_logit(row.mean_logit);
  }
  return absl::OkStatus();
}

}  // namespace

void AddRouterTasks(worker::TaskRegistry& registry) {
  registry[job::Task::kCompareRows] = Compare;
}

}  // namespace tributary::contributor
