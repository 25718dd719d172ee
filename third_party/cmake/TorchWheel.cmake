# Target drop_torch: LibTorch from the pinned Python wheel. CMake's own find_package(Torch) demands
# nvcc for this wheel, so the CPU form links libtorch_cpu and libc10 directly.

set(TORCH_ROOT "${site_packages}/torch")
file(READ "${TORCH_ROOT}/version.py" torch_version_text)
string(REGEX MATCH "__version__ = '([0-9.]+)" _ "${torch_version_text}")
if(NOT CMAKE_MATCH_1 STREQUAL TORCH_VERSION)
  message(FATAL_ERROR "LibTorch under ${TORCH_ROOT} is ${CMAKE_MATCH_1}, this project is pinned to "
          "${TORCH_VERSION}. Cure: run ./scripts/setup.sh again.")
endif()

# The wheel's include folder also carries fmt and protobuf headers of other versions, which would
# shadow the system's: only LibTorch's own folders are put on the include path.
set(torch_include "${CMAKE_BINARY_DIR}/torch_include")
file(MAKE_DIRECTORY "${torch_include}")
foreach(folder IN ITEMS ATen c10 torch)
  file(CREATE_LINK "${TORCH_ROOT}/include/${folder}" "${torch_include}/${folder}" SYMBOLIC)
endforeach()

add_library(drop_torch INTERFACE)
target_include_directories(drop_torch SYSTEM INTERFACE "${torch_include}")
target_compile_definitions(drop_torch INTERFACE _GLIBCXX_USE_CXX11_ABI=1)
target_link_options(drop_torch INTERFACE "-Wl,-rpath,${TORCH_ROOT}/lib")
# the wheel's CUDA runtime and profiler stubs lie in folders of their own
file(GLOB cuda_lib_dirs "${site_packages}/nvidia/*/lib")
foreach(dir IN LISTS cuda_lib_dirs)
  target_link_options(drop_torch INTERFACE "-Wl,-rpath,${dir}" "-Wl,-rpath-link,${dir}")
endforeach()
target_link_libraries(drop_torch INTERFACE
  "${TORCH_ROOT}/lib/libtorch_cpu.so" "${TORCH_ROOT}/lib/libc10.so")
# at::parallel_for is inlined into our code and is a plain loop there without OpenMP (as with Clang,
# whose OpenMP is another one). The runtime is the wheel's own, so that there is one pool of threads
target_compile_options(drop_torch INTERFACE $<$<COMPILE_LANG_AND_ID:CXX,GNU>:-fopenmp>)
target_link_libraries(drop_torch INTERFACE "${TORCH_ROOT}/lib/libgomp.so.1")
if(DROP_CUDA)
  if(NOT EXISTS "${site_packages}/nvidia/cublas" AND NOT EXISTS "${site_packages}/nvidia/cu13/lib/libcublas.so.13")
    message(FATAL_ERROR "The CUDA preset needs LibTorch's CUDA libraries. Cure: ./scripts/setup.sh --cuda")
  endif()
  # registers the CUDA kernels; nothing of it is called by name, so the linker must be told to keep it
  target_link_libraries(drop_torch INTERFACE
    -Wl,--no-as-needed "${TORCH_ROOT}/lib/libtorch_cuda.so" "${TORCH_ROOT}/lib/libc10_cuda.so" -Wl,--as-needed)
  # our own kernels and products use the runtime and the cuBLASLt that LibTorch brings
  foreach(library IN ITEMS cudart cublasLt)
    file(GLOB found "${site_packages}/nvidia/*/lib/lib${library}.so.13")
    if(NOT found)
      message(FATAL_ERROR "No lib${library}.so.13 under ${site_packages}/nvidia. Cure: ./scripts/setup.sh --cuda")
    endif()
    list(GET found 0 found)
    target_link_libraries(drop_torch INTERFACE "${found}")
  endforeach()
  target_compile_definitions(drop_torch INTERFACE DROP_WITH_CUDA=1)
endif()
