// The reader of a checkpoint's training half, behind the hashes, beside an intact checkpoint.

#include <span>
#include <vector>

#include "drop/base/error.h"
#include "drop/base/files.h"
#include "drop/train/training_file.h"
#include "fuzz/fuzz_support.h"
#include "fuzz/safetensors_mutator.h"
#include "fuzz/training_pair.h"
#include "support/temporary_folder.h"

extern "C" size_t LLVMFuzzerCustomMutator(uint8_t* data, size_t size, size_t max_size,
                                          unsigned int seed) {
  return drop::fuzz::mutate_safetensors(data, size, max_size, seed);
}

namespace {

drop::fuzz::MemoryFile intact_checkpoint() {
  const drop::testing::TemporaryFolder folder;
  const std::string path = folder.file("checkpoint");
  drop::fuzz::TrainingPair().save(path, folder.file("training"));
  const std::vector<std::byte> bytes = drop::read_file(path);
  return {reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size()};
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const drop::fuzz::MemoryFile checkpoint = intact_checkpoint();
  static drop::TrainState state = drop::fuzz::TrainingPair::fresh();
  std::vector<uint8_t> bytes(data, data + size);
  drop::testing::repair_hashes(std::as_writable_bytes(std::span(bytes)));
  const drop::fuzz::MemoryFile training(bytes.data(), bytes.size());
  drop::fuzz::tally.accepted +=
      drop::fuzz::expect_read_or_refused<drop::DataError>(training.path(), [&] {
        drop::load_training_pair(checkpoint.path(), training.path(), state,
                                 drop::fuzz::TrainingPair::dataset_sha256());
      });
  return 0;
}
