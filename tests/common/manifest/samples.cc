#include "tests/common/manifest/samples.h"

#include <nlohmann/json.hpp>

namespace tributary::manifest {

std::string Hex(char digit) { return std::string(64, digit); }

AnchorManifest SampleAnchor() {
  return {.name = "small",
          .files = {{.path = "config.json",
                     .blob = {.sha256 = Hex('1'), .size = 500}},
                    {.path = "model.safetensors",
                     .blob = {.sha256 = Hex('2'), .size = 100'000}},
                    {.path = "public/text/prose.jsonl",
                     .blob = {.sha256 = Hex('3'), .size = 2000}}},
          .model = {.model_type = "llama",
                    .num_layers = 3,
                    .hidden_size = 16,
                    .intermediate_size = 64,
                    .vocab_size = 300,
                    .block = 64},
          .public_text = {{.text_class = "prose",
                           .path = "public/text/prose.jsonl"}},
          .expert_policy = {.first_layer = 1,
                            .max_width = 64,
                            .top_k = 2,
                            .renormalise = true,
                            .window_tokens = 256,
                            .windows_per_class = 12,
                            .heldout_windows = 16,
                            .sample_stride = 2}};
}

ExpertManifest SampleExpert() {
  return {.federation = "federation",
          .contribution = "german",
          .contributor = "site-a",
          .anchor_digest = Hex('a'),
          .blob = {.sha256 = Hex('b'), .size = 4096},
          .widths = {0, 8},
          .tensors = {{.name = "layers.1.gate_proj.weight",
                       .dtype = "BF16",
                       .shape = {8, 16},
                       .sha256 = Hex('c')},
                      {.name = "layers.1.router.bias",
                       .dtype = "F32",
                       .shape = {},
                       .sha256 = Hex('d')}},
          .router_digest = Hex('e'),
          .method = {.recipe = "train",
                     .importance = "activation",
                     .router_method = "logistic",
                     .folded = true,
                     .teacher = "",
                     .steps = 40,
                     .tokens = 10240,
                     .documents = 12,
                     .epochs = 2,
                     .seed = 18446744073709551615u,
                     .learning_rate = 0.001,
                     .train_loss_first = 4.5,
                     .train_loss_last = 3.25,
                     .heldout_log_loss_anchor = 4.0,
                     .heldout_log_loss_own = 3.1,
                     .text_share = 1,
                     .software = "tributary 0.1.0"},
          .privacy = {.differential_privacy = "none", .minimum_documents = 8},
          .approval = {.approver = "Zo\u00eb",
                       .policy_version = "1",
                       .time_s = 1'900'000'000,
                       .mode = "person"}};
}

ReleaseManifest SampleRelease() {
  return {.anchor = {.name = "small", .digest = Hex('a')},
          .experts = {{.contribution = "german",
                       .contributor = "site-a",
                       .blob = {.sha256 = Hex('b'), .size = 4096},
                       .manifest_digest = Hex('c'),
                       .widths = {0, 8}},
                      {.contribution = "maths",
                       .contributor = "site-b",
                       .blob = {.sha256 = Hex('d'), .size = 8192},
                       .manifest_digest = Hex('e'),
                       .widths = {0, 16}}},
          .routing = {.mode = "discriminant",
                      .top_k = 2,
                      .renormalise = true,
                      .bias = "rows"},
          .router_blob = {.sha256 = Hex('f'), .size = 1024}};
}

WithdrawalReceipt SampleWithdrawal() {
  return {.federation = "federation",
          .contribution = "german",
          .contributor = "site-a",
          .expert_blob = {.sha256 = Hex('b'), .size = 4096},
          .withdrawn_releases = {{.name = "releases/2", .digest = Hex('1')}},
          .withdraw_time_s = 1'900'000'000,
          .purge_time_s = 1'900'000'900,
          .audit = {.size = 17, .head_hash = Hex('2')}};
}

PurgeReceipt SamplePurge() {
  return {
      .federation = "federation",
      .contribution = "german",
      .contributor = "site-a",
      .expert_blob = {.sha256 = Hex('b'), .size = 4096},
      .deleted_blobs = {{.sha256 = Hex('b'), .size = 4096}},
      .kept_blobs = {{.blob = {.sha256 = Hex('c'), .size = 7},
                      .reason = "part of contributions/maths"}},
      .withdrawn_releases = {{.name = "releases/2", .digest = Hex('1')}},
      .new_release = ReleaseReference{.name = "releases/3", .digest = Hex('3')},
      .purge_time_s = 1'900'000'900,
      .audit = {.size = 20, .head_hash = Hex('2')}};
}

std::string Edit(std::string_view json, std::string_view pointer,
                 std::string_view value_json) {
  nlohmann::json value = nlohmann::json::parse(json);
  const nlohmann::json::json_pointer at{std::string(pointer)};
  if (!value_json.empty()) {
    value[at] = nlohmann::json::parse(value_json);
  } else {
    value.at(at.parent_pointer()).erase(at.back());
  }
  return value.dump();
}

}  // namespace tributary::manifest
