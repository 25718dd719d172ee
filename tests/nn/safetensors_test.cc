#include "drop/nn/safetensors.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstdlib>
#include <limits>

#include "drop/base/error.h"
#include "drop/base/files.h"
#include "support/paths.h"

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
