#pragma once

#include <CLI/CLI.hpp>
#include <filesystem>
#include <string>
#include <vector>

#include "common/base/status.h"
#include "tributary/job/model.pb.h"

namespace tributary::cli {

// Options that every command about a model shares.
struct ModelOptions {
  std::string model;
  std::vector<std::string> experts;
  int top_k = 0;
  int threads = 0;
  std::string device = "cpu";
  std::string precision = "fp32";
};

// Declares them; returns the option --model.
CLI::Option* DeclareModelOptions(CLI::App* command, ModelOptions& options);

// The model that they name, and what a worker reads for it, made absolute.
// NOT_FOUND for paths that are not there.
Status FillModelSource(const ModelOptions& options, job::ModelSource* source,
                       std::vector<std::filesystem::path>* read_paths);

}  // namespace tributary::cli
