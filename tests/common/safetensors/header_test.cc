#include "common/safetensors/header.h"

#include <cstring>
#include <string>
#include <vector>

#include "fmt/format.h"
#include "fmt/ranges.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace tributary::safetensors {
namespace {

using ::testing::HasSubstr;

std::string WithLength(const std::string& json) {
  const uint64_t length = json.size();
  std::string bytes(8, '\0');
  std::memcpy(bytes.data(), &length, 8);
  return bytes + json;
}

StatusOr<Header> Parse(const std::string& json, uint64_t data_bytes,
                       const HeaderLimits& limits = HeaderLimits::ForExpert()) {
  const std::string bytes = WithLength(json);
  return ParseHeader(bytes, bytes.size() + data_bytes, limits);
}

std::string Tensor(const std::string& name, int begin, int end) {
  return fmt::format(
      R"("{}":{{"dtype":"U8","shape":[{}],"data_offsets":[{},{}]}})", name,
      end - begin, begin, end);
}

std::string Object(const std::vector<std::string>& members) {
  return fmt::format("{{{}}}", fmt::join(members, ","));
}

struct FaultCase {
  Fault fault;
  std::string json;
  uint64_t data_bytes = 0;
};

std::vector<FaultCase> FaultCases() {
  const auto one = [](const std::string& body) {
    return R"({"a":{)" + body + "}}";
  };
  const std::string good = R"("dtype":"F32","shape":[2],"data_offsets":[0,8])";
  const std::string many_digits(30, '9');
  return {
      {Fault::kHeaderStart, " {}"},
      {Fault::kHeaderStart, "[]"},
      {Fault::kHeaderStart, ""},
      {Fault::kInvalidUtf8, "{\"a\xff\":{" + good + "}}", 8},
      {Fault::kInvalidUtf8, "{\"\xc0\xaf\":{" + good + "}}", 8},
      {Fault::kInvalidUtf8, "{\"\xed\xa0\x80\":{" + good + "}}", 8},
      {Fault::kInvalidJson, "{", 0},
      {Fault::kInvalidJson, "{}}", 0},
      {Fault::kInvalidJson, "{,}", 0},
      {Fault::kInvalidJson, "{\"a\"", 0},
      {Fault::kInvalidJson, "{\"a", 0},
      {Fault::kInvalidJson, "{\"a\n\":1}", 0},
      {Fault::kInvalidJson, "{a:{}}", 0},
      {Fault::kInvalidJson, one(good) + "x", 8},
      {Fault::kInvalidJson, "{\"a\":{" + good + "},}", 8},
      {Fault::kInvalidJson, "{\"\\x\":{" + good + "}}", 8},
      {Fault::kInvalidJson, "{\"\\u12g4\":{" + good + "}}", 8},
      {Fault::kInvalidJson, "{\"\\ud800\":{" + good + "}}", 8},
      {Fault::kInvalidJson, "{\"\\ud800\\u0041\":{" + good + "}}", 8},
      {Fault::kInvalidJson, "{\"\\udc00\":{" + good + "}}", 8},
      {Fault::kInvalidJson,
       one(R"("dtype":"F32","shape":[02],"data_offsets":[0,8])"), 8},
      {Fault::kInvalidJson,
       one(R"("dtype":"F32","shape":[2,],"data_offsets":[0,8])"), 8},
      {Fault::kDuplicateKey,
       Object({Tensor("a", 0, 1), Tensor("b", 1, 2), Tensor("a", 2, 3)}), 3},
      {Fault::kDuplicateKey,
       Object({Tensor("a", 0, 1), Tensor("\\u0061", 1, 2)}), 2},
      {Fault::kDuplicateKey, one(good + R"(,"dtype":"F32")"), 8},
      {Fault::kDuplicateKey, one(good + R"(,"dtyp\u0065":"F32")"), 8},
      {Fault::kDuplicateKey, R"({"__metadata__":{},"__metadata__":{}})"},
      {Fault::kDuplicateKey, R"({"__metadata__":{},"\u005f_metadata__":{}})"},
      {Fault::kDuplicateKey,
       R"({"__metadata__":{"format":"pt","f\u006frmat":"pt"}})"},
      {Fault::kTooDeep,
       one(R"("dtype":{"x":1},"shape":[2],"data_offsets":[0,8])"), 8},
      {Fault::kTooDeep,
       one(R"("dtype":"F32","shape":[[2]],"data_offsets":[0,8])"), 8},
      {Fault::kTooDeep,
       one(R"("dtype":"F32","shape":[2],"data_offsets":[{},8])"), 8},
      {Fault::kKeyTooLong, Object({Tensor(std::string(513, 'a'), 0, 1)}), 1},
      {Fault::kEmptyName, Object({Tensor("", 0, 1)}), 1},
      {Fault::kUnknownField, one(good + R"(,"stride":[1])"), 8},
      {Fault::kMissingField, one(R"("shape":[2],"data_offsets":[0,8])"), 8},
      {Fault::kMissingField, one(R"("dtype":"F32","data_offsets":[0,8])"), 8},
      {Fault::kMissingField, one(R"("dtype":"F32","shape":[2])"), 8},
      {Fault::kMissingField, one(""), 8},
      {Fault::kWrongType, R"({"a":1})", 0},
      {Fault::kWrongType, R"({"a":[]})", 0},
      {Fault::kWrongType, one(R"("dtype":1,"shape":[2],"data_offsets":[0,8])"),
       8},
      {Fault::kWrongType,
       one(R"("dtype":"F32","shape":2,"data_offsets":[0,8])"), 8},
      {Fault::kWrongType,
       one(R"("dtype":"F32","shape":["2"],"data_offsets":[0,8])"), 8},
      {Fault::kWrongType,
       one(R"("dtype":"F32","shape":[true],"data_offsets":[0,8])"), 8},
      {Fault::kWrongType, one(R"("dtype":"F32","shape":[2],"data_offsets":[])"),
       8},
      {Fault::kWrongType,
       one(R"("dtype":"F32","shape":[2],"data_offsets":[8])"), 8},
      {Fault::kWrongType,
       one(R"("dtype":"F32","shape":[2],"data_offsets":[0,8,8])"), 8},
      {Fault::kUnknownDType,
       one(R"("dtype":"F31","shape":[2],"data_offsets":[0,8])"), 8},
      {Fault::kUnknownDType,
       one(R"("dtype":"f32","shape":[2],"data_offsets":[0,8])"), 8},
      {Fault::kBadNumber,
       one(R"("dtype":"F32","shape":[-2],"data_offsets":[0,8])"), 8},
      {Fault::kBadNumber,
       one(R"("dtype":"F32","shape":[2.0],"data_offsets":[0,8])"), 8},
      {Fault::kBadNumber,
       one(R"("dtype":"F32","shape":[2e0],"data_offsets":[0,8])"), 8},
      {Fault::kBadNumber,
       one(R"("dtype":"F32","shape":[9223372036854775808],)"
           R"("data_offsets":[0,8])"),
       8},
      {Fault::kBadNumber,
       one(R"("dtype":"F32","shape":[)" + many_digits +
           R"(],"data_offsets":[0,8])"),
       8},
      {Fault::kRankTooLarge,
       one(R"("dtype":"F32","shape":[1,1,1,1,1,1,1,1,2],)"
           R"("data_offsets":[0,8])"),
       8},
      {Fault::kSizeOverflow,
       one(R"("dtype":"F32","shape":[4294967296,4294967296],)"
           R"("data_offsets":[0,0])"),
       0},
      {Fault::kSizeOverflow,
       one(R"("dtype":"F32","shape":[2305843009213693952],)"
           R"("data_offsets":[0,0])"),
       0},
      {Fault::kSizeMismatch,
       one(R"("dtype":"F32","shape":[3],"data_offsets":[0,8])"), 8},
      {Fault::kSizeMismatch,
       one(R"("dtype":"F32","shape":[],"data_offsets":[0,8])"), 8},
      {Fault::kOffsetsReversed,
       one(R"("dtype":"F32","shape":[2],"data_offsets":[8,0])"), 8},
      {Fault::kOffsetsUnsorted, Object({Tensor("a", 1, 2), Tensor("b", 0, 1)}),
       2},
      {Fault::kOffsetsGap, Object({Tensor("a", 0, 1), Tensor("b", 2, 3)}), 3},
      {Fault::kOffsetsGap, Object({Tensor("a", 1, 2)}), 2},
      {Fault::kOffsetsGap, Object({Tensor("a", 0, 4), Tensor("b", 2, 6)}), 6},
      {Fault::kDataPastEnd, Object({Tensor("a", 0, 4)}), 3},
      {Fault::kTrailingBytes, Object({Tensor("a", 0, 4)}), 5},
      {Fault::kTrailingBytes, "{}", 1},
      {Fault::kMetadataNotStrings, R"({"__metadata__":{"format":1}})"},
      {Fault::kMetadataNotStrings, R"({"__metadata__":{"format":{}}})"},
      {Fault::kMetadataNotStrings, R"({"__metadata__":null})"},
      {Fault::kMetadataNotStrings, R"({"__metadata__":[]})"},
      {Fault::kMetadataKeyRefused, R"({"__metadata__":{"author":"x"}})"},
  };
}

TEST(HeaderFaults, EachIsNamed) {
  for (const FaultCase& c : FaultCases()) {
    const auto header = Parse(c.json, c.data_bytes);
    ASSERT_FALSE(header.ok()) << c.json;
    const auto fault = FaultOf(header.status());
    ASSERT_TRUE(fault.has_value()) << c.json << " " << header.status();
    EXPECT_EQ(FaultName(*fault), FaultName(c.fault))
        << c.json << " " << header.status();
    EXPECT_THAT(std::string(header.status().message()),
                HasSubstr(std::string(FaultName(c.fault)) + ": "));
  }
}

TEST(HeaderFaults, LengthIsCheckedBeforeAnythingElse) {
  const HeaderLimits limits = HeaderLimits::ForExpert();
  const auto fault = [&](const std::string& bytes) {
    return *FaultOf(ParseHeader(bytes, bytes.size(), limits).status());
  };
  EXPECT_EQ(fault(""), Fault::kTooShort);
  EXPECT_EQ(fault(std::string(7, '\0')), Fault::kTooShort);
  EXPECT_EQ(fault(std::string("\x01\0\x10\0\0\0\0\0{}", 10)),
            Fault::kHeaderTooLarge);
  EXPECT_EQ(fault(std::string(8, '\xff') + "{}"), Fault::kHeaderTooLarge);
  EXPECT_EQ(fault(std::string("\x03\0\0\0\0\0\0\0{}", 10)),
            Fault::kHeaderPastEnd);
  // The file is long enough, but the caller did not read all of the header.
  EXPECT_EQ(
      *FaultOf(ParseHeader(std::string("\x03\0\0\0\0\0\0\0{}", 10), 100, limits)
                   .status()),
      Fault::kHeaderPastEnd);
}

TEST(HeaderFaults, TooManyTensors) {
  HeaderLimits limits;
  limits.max_tensors = 2;
  std::vector<std::string> tensors = {Tensor("a", 0, 1), Tensor("b", 1, 2)};
  EXPECT_TRUE(Parse(Object(tensors), 2, limits).ok());
  tensors.push_back(Tensor("c", 2, 3));
  EXPECT_EQ(*FaultOf(Parse(Object(tensors), 3, limits).status()),
            Fault::kTooManyTensors);
}

TEST(HeaderFaults, OtherErrorsAreNotFaults) {
  EXPECT_EQ(FaultOf(absl::OkStatus()), std::nullopt);
  EXPECT_EQ(FaultOf(absl::InvalidArgumentError("TOO_DEEP: x")), std::nullopt);
  const Status fault = FaultStatus(Fault::kTooDeep, "x");
  EXPECT_EQ(FaultOf(AnnotateFault(fault, "file")), Fault::kTooDeep);
  EXPECT_EQ(AnnotateFault(fault, "file").message(), "file: TOO_DEEP: x");
}

TEST(Header, Parses) {
  const auto header = Parse(
      R"({ "__metadata__" : {"format":"pt"},
           "w\u00e9\ud83d\ude00": {"shape":[2, 3], "data_offsets":[0,12],
           "dtype":"BF16"}, "s":{"dtype":"F32","shape":[],"data_offsets":[12,16]},
           "empty":{"dtype":"I64","shape":[0,5],"data_offsets":[16,16]} }  )",
      16);
  ASSERT_TRUE(header.ok()) << header.status();
  ASSERT_EQ(header->tensors.size(), 3u);
  EXPECT_EQ(header->metadata.at("format"), "pt");
  const TensorInfo* w = header->Find("wé😀");
  ASSERT_NE(w, nullptr);
  EXPECT_EQ(w->dtype, DType::kBF16);
  EXPECT_EQ(w->shape, Shape({2, 3}));
  EXPECT_EQ(w->bytes(), 12u);
  EXPECT_EQ(w->elements(), 6);
  EXPECT_EQ(header->Find("s")->elements(), 1);
  EXPECT_EQ(header->Find("empty")->elements(), 0);
  EXPECT_EQ(header->Find("other"), nullptr);
}

TEST(Header, OrderIsAnOption) {
  const std::string json = Object({Tensor("a", 1, 2), Tensor("b", 0, 1)});
  const auto header = Parse(json, 2, HeaderLimits::ForModel());
  ASSERT_TRUE(header.ok()) << header.status();
  EXPECT_EQ(header->tensors[0].name, "b");
  EXPECT_EQ(header->Find("a")->begin, 1u);
}

TEST(Header, ModelLimitsTakeAnyMetadata) {
  const auto header =
      Parse(R"({"__metadata__":{"any":"thing"}})", 0, HeaderLimits::ForModel());
  ASSERT_TRUE(header.ok());
  EXPECT_EQ(header->metadata.at("any"), "thing");
}

TEST(Header, EveryCutAndEveryFlippedByteIsSafe) {
  const auto bytes =
      SerializeHeader({{"a", DType::kF32, {2, 2}}, {"b", DType::kBF16, {3}}},
                      {{"format", "pt"}});
  ASSERT_TRUE(bytes.ok());
  const uint64_t file_bytes = bytes->size() + 22;
  ASSERT_TRUE(ParseHeader(*bytes, file_bytes, HeaderLimits::ForExpert()).ok());
  for (size_t cut = 0; cut < bytes->size(); ++cut) {
    const std::string part = bytes->substr(0, cut);
    EXPECT_FALSE(ParseHeader(part, cut, HeaderLimits::ForExpert()).ok());
  }
  for (size_t i = 0; i < bytes->size(); ++i) {
    for (int bit = 0; bit < 8; ++bit) {
      std::string changed = *bytes;
      changed[i] = static_cast<char>(changed[i] ^ (1 << bit));
      const auto header =
          ParseHeader(changed, file_bytes, HeaderLimits::ForExpert());
      if (!header.ok()) {
        EXPECT_TRUE(FaultOf(header.status()).has_value());
      }
    }
  }
}

TEST(SerializeHeader, IsPaddedAndReadBack) {
  const std::vector<TensorSpec> specs = {
      {"layers.0.gate_proj.weight", DType::kBF16, {8, 3}},
      {"layers.0.router.bias", DType::kF32, {}},
      {"quote\"back\\slash\n", DType::kU8, {1}}};
  const auto bytes = SerializeHeader(specs);
  ASSERT_TRUE(bytes.ok());
  EXPECT_EQ(bytes->size() % 8, 0u);
  const auto header =
      ParseHeader(*bytes, bytes->size() + 53, HeaderLimits::ForExpert());
  ASSERT_TRUE(header.ok()) << header.status();
  ASSERT_EQ(header->tensors.size(), 3u);
  for (size_t i = 0; i < specs.size(); ++i) {
    EXPECT_EQ(header->tensors[i].name, specs[i].name);
    EXPECT_EQ(header->tensors[i].shape, specs[i].shape);
    EXPECT_EQ(header->tensors[i].dtype, specs[i].dtype);
  }
}

TEST(SerializeHeader, RefusesWhatCouldNotBeRead) {
  const auto fault = [](std::vector<TensorSpec> specs) {
    return FaultOf(SerializeHeader(specs).status());
  };
  EXPECT_EQ(fault({{"a", DType::kU8, {1}}, {"a", DType::kU8, {1}}}),
            Fault::kDuplicateKey);
  EXPECT_EQ(fault({{"__metadata__", DType::kU8, {1}}}), Fault::kDuplicateKey);
  EXPECT_EQ(fault({{"", DType::kU8, {1}}}), Fault::kEmptyName);
  EXPECT_EQ(fault({{"\xff", DType::kU8, {1}}}), Fault::kInvalidUtf8);
  EXPECT_EQ(fault({{"a", DType::kU8, {-1}}}), Fault::kSizeOverflow);
  EXPECT_EQ(fault({{"a", DType::kF64, {1ll << 62}}}), Fault::kSizeOverflow);
}

TEST(DTypes, NamesAndSizes) {
  for (const auto& [name, size] :
       std::vector<std::pair<std::string, size_t>>{{"F64", 8},
                                                   {"F32", 4},
                                                   {"F16", 2},
                                                   {"BF16", 2},
                                                   {"I64", 8},
                                                   {"I32", 4},
                                                   {"I16", 2},
                                                   {"I8", 1},
                                                   {"U8", 1},
                                                   {"BOOL", 1}}) {
    const auto dtype = ParseDType(name);
    ASSERT_TRUE(dtype.has_value()) << name;
    EXPECT_EQ(DTypeName(*dtype), name);
    EXPECT_EQ(DTypeSize(*dtype), size);
  }
  EXPECT_EQ(ParseDType("F8_E4M3"), std::nullopt);
}

}  // namespace
}  // namespace tributary::safetensors
