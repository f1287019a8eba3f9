// The quick way through entries spelt as usual and the full parser agree, on
// good headers and on damaged ones.

#include "common/safetensors/usual_entry.h"

#include <gtest/gtest.h>

#include <cstring>
#include <random>
#include <string>

namespace tributary::safetensors {
namespace {

std::string File(const std::string& json) {
  std::string bytes(8, '\0');
  const uint64_t length = json.size();
  std::memcpy(bytes.data(), &length, 8);
  return bytes + json;
}

// The same JSON with a blank in front, so that no entry is spelt as usual.
std::string Spaced(const std::string& json) {
  std::string out;
  bool in_string = false;
  for (size_t i = 0; i < json.size(); ++i) {
    out.push_back(json[i]);
    if (json[i] == '"' && (i == 0 || json[i - 1] != '\\')) {
      in_string = !in_string;
      if (!in_string) {
        out.push_back(' ');
      }
    }
  }
  return out;
}

void ExpectSame(const std::string& json, uint64_t data_bytes) {
  const std::string spaced = Spaced(json);
  const auto quick = ParseHeader(File(json), 8 + json.size() + data_bytes, {});
  const auto full =
      ParseHeader(File(spaced), 8 + spaced.size() + data_bytes, {});
  ASSERT_EQ(quick.ok(), full.ok()) << json << "\n"
                                   << quick.status() << "\n"
                                   << full.status();
  if (!quick.ok()) {
    EXPECT_EQ(FaultOf(quick.status()), FaultOf(full.status())) << json;
    return;
  }
  ASSERT_EQ(quick->tensors.size(), full->tensors.size()) << json;
  for (size_t i = 0; i < quick->tensors.size(); ++i) {
    const TensorInfo& a = quick->tensors[i];
    const TensorInfo& b = full->tensors[i];
    EXPECT_EQ(a.name, b.name);
    EXPECT_EQ(a.dtype, b.dtype);
    EXPECT_TRUE(a.shape == b.shape) << json;
    EXPECT_EQ(a.begin, b.begin);
    EXPECT_EQ(a.end, b.end);
    EXPECT_EQ(quick->Find(a.name), &a);
  }
}

constexpr char kTwo[] =
    R"({"a.weight":{"dtype":"BF16","shape":[2,3],"data_offsets":[0,12]},)"
    R"("b":{"dtype":"I64","shape":[],"data_offsets":[12,20]}})";

TEST(UsualEntryTest, TakesWhatWritersWrite) {
  TensorInfo tensor;
  const std::string json = kTwo;
  const size_t end = ParseUsualEntry(json, 1, 512, &tensor);
  ASSERT_EQ(end, json.find("},") + 1);
  EXPECT_EQ(tensor.name, "a.weight");
  EXPECT_EQ(tensor.dtype, DType::kBF16);
  EXPECT_EQ(tensor.end, 12u);
  TensorInfo second;
  EXPECT_EQ(ParseUsualEntry(json, end + 1, 512, &second), json.size() - 1);
  EXPECT_EQ(second.dtype, DType::kI64);
  TensorInfo third;
  EXPECT_EQ(ParseUsualEntry(json, 1, 7, &third), 0u);  // the name is longer
}

TEST(UsualEntryTest, LeavesEverythingElseToTheParser) {
  for (
      const char* json :
      {R"({"":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}})",
       R"({"a\u0062":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}})",
       R"({"__metadata__":{"dtype":"U8"}})",
       R"({"a":{"dtype":"U9","shape":[1],"data_offsets":[0,1]}})",
       R"({"a":{"dtype":"U8","shape":[01],"data_offsets":[0,1]}})",
       R"({"a":{"dtype":"U8","shape":[-1],"data_offsets":[0,1]}})",
       R"({"a":{"dtype":"U8","shape":[2],"data_offsets":[0,1]}})",
       R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[1,0]}})",
       R"({"a":{"shape":[1],"dtype":"U8","data_offsets":[0,1]}})",
       R"({"a":{"dtype":"U8","shape":[4294967296,4294967296],"data_offsets":[0,0]}})",
       R"({"a":{"dtype":"U8","shape":[1,1,1,1,1,1,1,1,1],"data_offsets":[0,1]}})",
       R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"a":{"dtype":"U8","shape":[1],"data_offsets":[1,2]}})",
       R"({"a":{"dtype":"U8","shape":[0],"data_offsets":[0,0]},"b":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}})"}) {
    ExpectSame(json, 1);
  }
  for (const uint64_t bytes : {0, 19, 20, 21}) {
    ExpectSame(kTwo, bytes);
  }
}

TEST(UsualEntryTest, AgreesOnDamagedHeaders) {
  std::mt19937 random(7);
  const std::string whole = kTwo;
  const std::string bytes =
      "\"\\{}[]:,0189eE.-+ \x01"
      "aBFIU_dtypeshape";
  for (int i = 0; i < 20'000; ++i) {
    std::string json = whole;
    for (int edits = 1 + static_cast<int>(random() % 3); edits > 0; --edits) {
      const size_t at = 1 + random() % (json.size() - 1);
      const char c = bytes[random() % bytes.size()];
      switch (random() % 3) {
        case 0:
          json[at] = c;
          break;
        case 1:
          json.insert(at, 1, c);
          break;
        default:
          json.erase(at, 1);
      }
    }
    // An escape changes what Spaced would have to know about strings.
    if (json.find('\\') == std::string::npos) {
      ExpectSame(json, 20);
    }
  }
}

}  // namespace
}  // namespace tributary::safetensors
