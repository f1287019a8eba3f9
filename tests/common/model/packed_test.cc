#include "common/model/packed.h"

#include <gtest/gtest.h>
#include <torch/torch.h>

#include "tests/common/model/test_models.h"

namespace tributary::model {
namespace {

class PackedTest : public ::testing::Test {
 protected:
  void SetUp() override {
    auto loaded = LoadModel(TinyAnchor());
    ASSERT_TRUE(loaded.ok()) << loaded.status();
    lm_ = *std::move(loaded);
    ASSERT_TRUE(
        AttachExpert(lm_, RandomExpert(lm_.config, {0, 96, 384, 64}, "e", 3))
            .ok());
    at::manual_seed(1);
    for (const int64_t length : {5, 1, 17, 9}) {
      sequences_.push_back(
          at::randint(0, lm_.config.vocab_size, {length}, at::kLong));
    }
  }

  // States of one sequence by the ordinary way.
  Tensor Alone(const Tensor& ids) const {
    const at::NoGradGuard no_gradients;
    return RunLayers(lm_, Embed(lm_, ids.unsqueeze(0)), 0, lm_.num_layers());
  }

  static double Difference(const Tensor& a, const Tensor& b) {
    return (a - b).abs().max().item<double>();
  }

  CausalLm lm_;
  std::vector<Tensor> sequences_;
};

TEST_F(PackedTest, SequencesDoNotSeeEachOther) {
  std::vector<Segment> segments;
  for (const Tensor& sequence : sequences_) {
    segments.push_back({.length = sequence.numel()});
  }
  const Tensor packed = RunPacked(lm_, at::cat(sequences_), segments);
  int64_t begin = 0;
  for (const Tensor& sequence : sequences_) {
    EXPECT_LT(
        Difference(packed.narrow(1, begin, sequence.numel()), Alone(sequence)),
        2e-5);
    begin += sequence.numel();
  }
}

TEST_F(PackedTest, CachedPositionsGoOnWhereTheyStopped) {
  std::vector<KvCache> caches;
  for (const Tensor& sequence : sequences_) {
    caches.push_back(KvCache::Create(lm_, 1, sequence.numel() + 2));
  }
  // Each sequence in three parts, two of them of one position, at different
  // times for different sequences.
  std::vector<std::vector<Tensor>> states(sequences_.size());
  std::vector<int64_t> done(sequences_.size(), 0);
  for (int step = 0; step < 40; ++step) {
    std::vector<Segment> segments;
    std::vector<Tensor> ids;
    std::vector<size_t> whose;
    for (size_t s = 0; s < sequences_.size(); ++s) {
      const int64_t rest = sequences_[s].numel() - done[s];
      const int64_t length =
          std::min<int64_t>(rest, (step + static_cast<int>(s)) % 3);
      if (length > 0) {
        segments.push_back({.length = length, .cache = &caches[s]});
        ids.push_back(sequences_[s].narrow(0, done[s], length));
        done[s] += length;
        whose.push_back(s);
      }
    }
    if (segments.empty()) {
      continue;
    }
    const Tensor packed = RunPacked(lm_, at::cat(ids), segments);
    int64_t begin = 0;
    for (size_t i = 0; i < segments.size(); ++i) {
      states[whose[i]].push_back(packed.narrow(1, begin, segments[i].length));
      begin += segments[i].length;
    }
  }
  for (size_t s = 0; s < sequences_.size(); ++s) {
    EXPECT_EQ(caches[s].length, sequences_[s].numel());
    EXPECT_LT(Difference(at::cat(states[s], 1), Alone(sequences_[s])), 2e-5);
  }
}

TEST_F(PackedTest, WrongSegmentsAreErrors) {
  KvCache cache = KvCache::Create(lm_, 1, 3);
  const Tensor ids = sequences_[0];
  for (const std::vector<Segment>& segments :
       {std::vector<Segment>{{.length = 4}},
        std::vector<Segment>{{.length = 5}, {.length = 0}},
        std::vector<Segment>{{.length = 5, .cache = &cache}}}) {
    EXPECT_THROW(RunPacked(lm_, ids, segments), c10::Error);
  }
}

}  // namespace
}  // namespace tributary::model
