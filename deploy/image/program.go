package image

import (
	"debug/elf"
	"errors"
	"fmt"
	"os"
)

// ErrNotStatic says that a program needs a loader or libraries, which the image
// does not have.
var ErrNotStatic = errors.New("not statically linked: build it with CGO_ENABLED=0")

// ReadProgram reads a Linux executable and tells which processor it is for, in
// Go's terms. One that could not run in an image of its own is refused.
func ReadProgram(file string) (program []byte, architecture string, err error) {
	executable, err := elf.Open(file)
	if err != nil {
		return nil, "", fmt.Errorf("%s is no Linux program (build it with GOOS=linux): %w", file, err)
	}
	defer func() { _ = executable.Close() }() // it was only read
	for _, segment := range executable.Progs {
		if segment.Type == elf.PT_INTERP {
			return nil, "", fmt.Errorf("%s: %w", file, ErrNotStatic)
		}
	}
	architecture, known := map[elf.Machine]string{
		elf.EM_X86_64: "amd64", elf.EM_AARCH64: "arm64", elf.EM_S390: "s390x", elf.EM_PPC64: "ppc64le", elf.EM_RISCV: "riscv64",
	}[executable.Machine]
	if !known {
		return nil, "", fmt.Errorf("%s is for the processor %s, of which no container runtime is known here", file, executable.Machine)
	}
	program, err = os.ReadFile(file)
	return program, architecture, err
}
