// Encodes documents, one JSON string a line on standard input, and prints the
// ids of each as a JSON list; the seconds spent in the tokenizer come at the
// end of standard error. For comparisons with other implementations.
//
//   tokenize_documents TOKENIZER_JSON [--repeat N] [--quiet]

#include <chrono>
#include <cstdio>
#include <iostream>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "common/tokenizer/tokenizer.h"

int main(int argc, char** argv) {
  if (argc < 2) {
    std::fprintf(stderr, "usage: tokenize_documents TOKENIZER_JSON ...\n");
    return 2;
  }
  int repeat = 1;
  bool quiet = false;
  for (int i = 2; i < argc; ++i) {
    const std::string argument = argv[i];
    if (argument == "--quiet") {
      quiet = true;
    } else if (argument == "--repeat" && i + 1 < argc) {
      repeat = std::stoi(argv[++i]);
    }
  }
  const auto tokenizer = tributary::tokenizer::Tokenizer::Load(argv[1]);
  if (!tokenizer.ok()) {
    std::cerr << tokenizer.status() << '\n';
    return 1;
  }
  std::vector<std::string> documents;
  size_t bytes = 0;
  for (std::string line; std::getline(std::cin, line);) {
    documents.push_back(nlohmann::json::parse(line).get<std::string>());
    bytes += documents.back().size();
  }
  std::vector<double> seconds;
  std::string out;
  for (int round = 0; round < repeat; ++round) {
    double spent = 0;
    for (const std::string& document : documents) {
      const auto begin = std::chrono::steady_clock::now();
      const auto ids = (*tokenizer)->Encode(document);
      const auto end = std::chrono::steady_clock::now();
      spent += std::chrono::duration<double>(end - begin).count();
      if (!ids.ok()) {
        std::cerr << ids.status() << '\n';
        return 1;
      }
      if (round == 0 && !quiet) {
        out = nlohmann::json(*ids).dump();
        out.push_back('\n');
        std::fwrite(out.data(), 1, out.size(), stdout);
      }
    }
    seconds.push_back(spent);
  }
  std::cerr << nlohmann::json({{"bytes", bytes}, {"seconds", seconds}}).dump()
            << '\n';
  return 0;
}
