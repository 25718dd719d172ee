#include "drop/nn/safetensors.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstdlib>
#include <cstring>
#include <limits>

#include "drop/base/error.h"
#include "drop/base/files.h"
#include "support/paths.h"
#include "support/safetensors_repair.h"

namespace drop {
namespace {

SafetensorsFile sample() {
  SafetensorsFile file;
  file.tensors = {{"matrix", at::arange(6).view({2, 3}).to(at::kFloat)},
                  {"scalar", at::scalar_tensor(2.5, at::kFloat)},
                  {"count", at::scalar_tensor(int64_t{7}, at::kLong)},
                  {"empty", at::empty({0, 4}, at::kFloat)}};
  file.metadata = {{"step", "12"}, {"note", "quotes \" and \n lines"}};
  return file;
}

TEST(Safetensors, RoundTrip) {
  const std::vector<std::byte> bytes = serialise_safetensors(sample());
  const SafetensorsFile back = parse_safetensors(bytes, "sample");
  ASSERT_EQ(back.tensors.size(), 4u);
  for (const auto& [name, tensor] : sample().tensors) {
    EXPECT_TRUE(back.tensor(name, tensor.sizes(), tensor.scalar_type(), "sample").equal(tensor))
        << name;
  }
  EXPECT_EQ(back.metadata.at("note"), "quotes \" and \n lines");
  EXPECT_EQ(back.metadata.at("payload_sha256").size(), 64u);
  EXPECT_THROW(back.tensor("matrix", {3, 2}, at::kFloat, "sample"), DataError);
  EXPECT_THROW(back.tensor("matrix", {2, 3}, at::kDouble, "sample"), DataError);
  EXPECT_THROW(back.tensor("absent", {2, 3}, at::kFloat, "sample"), DataError);
}

TEST(Safetensors, EverySingleBitFlipIsRefused) {
  std::vector<std::byte> bytes = serialise_safetensors(sample());
  for (size_t i = 0; i < bytes.size(); ++i) {
    for (int bit = 0; bit < 8; ++bit) {
      bytes[i] ^= static_cast<std::byte>(1 << bit);
      EXPECT_THROW(parse_safetensors(bytes, "flipped"), DataError)
          << "byte " << i << " bit " << bit;
      bytes[i] ^= static_cast<std::byte>(1 << bit);
    }
  }
}

TEST(Safetensors, EveryTruncationIsRefused) {
  const std::vector<std::byte> bytes = serialise_safetensors(sample());
  for (size_t size = 0; size < bytes.size(); ++size) {
    EXPECT_THROW(parse_safetensors(std::span(bytes).first(size), "cut"), DataError) << size;
  }
  std::vector<std::byte> longer = bytes;
  longer.push_back(std::byte{0});
  EXPECT_THROW(parse_safetensors(longer, "longer"), DataError);
}

// a file with right hashes, whose header holds `tensors` beside the metadata
std::vector<std::byte> hashed_file(const std::string& tensors, size_t payload_bytes) {
  const std::string zeros(64, '0');
  const std::string header = R"({"__metadata__":{"header_sha256":")" + zeros +
                             R"(","payload_sha256":")" + zeros + R"("},)" + tensors + "}";
  std::vector<std::byte> bytes(8 + header.size() + payload_bytes);
  const uint64_t length = header.size();
  std::memcpy(bytes.data(), &length, sizeof length);
  std::memcpy(bytes.data() + 8, header.data(), header.size());
  testing::repair_hashes(bytes);
  return bytes;
}

std::string tensor_entry(const std::string& name, const std::string& shape, size_t begin,
                         size_t end) {
  return "\"" + name + R"(":{"dtype":"U8","shape":[)" + shape + R"(],"data_offsets":[)" +
         std::to_string(begin) + "," + std::to_string(end) + "]}";
}

TEST(Safetensors, SizesThatCannotBeAreRefusedBeforeMemoryIsTaken) {
  const std::string bytes_of_data = tensor_entry("data", "100", 0, 100);
  const auto parsed = [&](const std::string& tensor) {
    return parse_safetensors(hashed_file(bytes_of_data + "," + tensor, 100), "made");
  };
  // an empty tensor is one, however its other axes stand beside the file's size
  EXPECT_EQ(parsed(tensor_entry("empty", "0,4", 100, 100)).tensors.size(), 2u);
  std::string huge = "0";
  for (int axis = 0; axis < 12; ++axis) huge += ",100";
  EXPECT_THROW(parsed(tensor_entry("empty", huge, 100, 100)), DataError);
  EXPECT_THROW(parsed(tensor_entry("empty", "100,100,0", 100, 100)), DataError);
  EXPECT_THROW(parsed(tensor_entry("huge", "18446744073709551615", 100, 100)), DataError);
  EXPECT_THROW(parsed(tensor_entry("negative", "-1", 100, 100)), DataError);
  EXPECT_THROW(parsed(tensor_entry("none", "1", 100, 100)), DataError);
  EXPECT_THROW(parsed(tensor_entry("some", "0", 100, 101)), DataError);
  // nor is a header parsed that is larger than any of ours
  const std::string padding(300 << 10, ' ');
  EXPECT_THROW(parse_safetensors(hashed_file(bytes_of_data + padding, 100), "made"), DataError);
}

TEST(Safetensors, ANameWithControlCharactersMakesOneLine) {
  try {
    parse_safetensors(hashed_file(tensor_entry("a\\n\\u001b[31mb", "1", 5, 6), 1), "made");
    FAIL();
  } catch (const DataError& error) {
    for (const char letter : std::string(error.what())) {
      EXPECT_GE(static_cast<unsigned char>(letter), 0x20) << error.what();
    }
  }
}

TEST(Safetensors, NamesTheElementThatIsNotFinite) {
  SafetensorsFile file = sample();
  file.tensors[0].second[1][1] = std::numeric_limits<float>::quiet_NaN();
  try {
    require_finite(file, "weights.safetensors");
    FAIL();
  } catch (const DataError& error) {
    EXPECT_NE(std::string(error.what()).find("weights.safetensors: tensor matrix: element 4"),
              std::string::npos)
        << error.what();
  }
}

TEST(Safetensors, ThePythonPackageReadsIt) {
  if (std::system(
          (std::string(DROP_PYTHON) + " -c 'import safetensors, numpy' 2>/dev/null").c_str()) !=
      0) {
    GTEST_SKIP() << "no Python with safetensors at " << DROP_PYTHON;
  }
  const testing::TemporaryFolder folder;
  write_file_atomically(folder.file("s.safetensors"), serialise_safetensors(sample()));
  write_file_atomically(folder.file("read.py"), std::string_view(R"(
import sys
from safetensors import safe_open
with safe_open(sys.argv[1], "np") as f:
    assert sorted(f.keys()) == ["count", "empty", "matrix", "scalar"], list(f.keys())
    assert f.get_tensor("matrix").tolist() == [[0, 1, 2], [3, 4, 5]]
    assert f.get_tensor("count") == 7 and f.get_tensor("scalar") == 2.5
    assert f.metadata()["step"] == "12"
)"));
  const std::string command = std::string(DROP_PYTHON) + " '" + folder.file("read.py") + "' '" +
                              folder.file("s.safetensors") + "'";
  EXPECT_EQ(std::system(command.c_str()), 0);
}

}  // namespace
}  // namespace drop
