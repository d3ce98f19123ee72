// Command graf-image packs a statically linked program into a container image
// and prints the image's name:
//
//	graf-image --name graf-submit --binary bin/submit --output submit.tar
//	graf-image --name graf-submit --binary bin/submit --push
//
// The first writes an archive for a cluster on this machine, the second pushes to
// the registry that GRAF_IMAGE_REGISTRY names. With neither, the name alone is
// printed: it ends with a digest of the content, so it tells whether an image is
// there already.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/graf-run/graf/deploy/image"
)

// registryVariable names the registry to push to, with a path if need be:
// registry.example/graf.
const registryVariable = "GRAF_IMAGE_REGISTRY"

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	err := run(ctx, os.Args[1:], os.Stdout)
	if err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "graf-image:", err)
		stop()
		os.Exit(1)
	}
}

// options are the command line.
type options struct {
	name, program, output string
	push                  bool
	spec                  image.Spec
}

func parse(arguments []string) (options, error) {
	o := options{spec: image.Spec{Files: map[string][]byte{}, Links: map[string]string{}}}
	flags := flag.NewFlagSet("graf-image", flag.ContinueOnError)
	flags.StringVar(&o.name, "name", "", "the image's name: NAME, or REGISTRY/NAME, either with :TAG for one of your own")
	flags.StringVar(&o.program, "binary", "", "the program, statically linked")
	flags.StringVar(&o.spec.Path, "entrypoint", "/app", "the program's path in the image")
	flags.StringVar(&o.output, "output", "", "archive to write")
	flags.BoolVar(&o.push, "push", false, "push to the registry "+registryVariable)
	flags.Func("file", "FILE=PATH to put into the image besides, a program or what it reads; may be repeated", func(text string) error {
		from, to, both := strings.Cut(text, "=")
		if !both {
			return errors.New("write FILE=PATH")
		}
		data, err := os.ReadFile(from)
		o.spec.Files[to] = data
		return err
	})
	flags.Func("link", "PATH=TARGET, a symbolic link in the image; may be repeated", func(text string) error {
		from, to, both := strings.Cut(text, "=")
		if !both {
			return errors.New("write PATH=TARGET")
		}
		o.spec.Links[from] = to
		return nil
	})
	flags.Func("env", "NAME=VALUE to set in the image; may be repeated", func(text string) error {
		o.spec.Env = append(o.spec.Env, text)
		return nil
	})
	if err := flags.Parse(arguments); err != nil {
		return options{}, err
	}
	switch {
	case flags.NArg() > 0:
		return options{}, fmt.Errorf("%q is one argument too many: everything is a flag", flags.Arg(0))
	case o.name == "" || o.program == "":
		return options{}, errors.New("give --name and --binary")
	case o.push && o.output != "":
		return options{}, errors.New("give --output or --push, not both")
	}
	return o, nil
}

func run(ctx context.Context, arguments []string, out io.Writer) error {
	o, err := parse(arguments)
	if err != nil {
		return err
	}
	registry := image.LocalRegistry
	if o.push {
		if registry = os.Getenv(registryVariable); registry == "" {
			return errors.New(registryVariable + " is not set: give the registry to push to, such as registry.example/graf")
		}
	}
	if o.spec.Program, o.spec.Architecture, err = image.ReadProgram(o.program); err != nil {
		return err
	}
	o.spec.Compress = o.push
	made, err := image.Build(o.spec)
	if err != nil {
		return err
	}
	reference, err := image.Reference(made, registry, o.name)
	if err != nil {
		return err
	}
	delivered, err := deliver(ctx, o, made, reference)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(out, delivered)
	return err
}

// deliver brings the image where it is wanted and gives the name to use for it.
func deliver(ctx context.Context, o options, made v1.Image, reference name.Tag) (name.Reference, error) {
	switch {
	case o.push:
		return image.Push(ctx, made, reference)
	case o.output != "":
		return reference, image.Write(made, reference, o.output)
	default:
		return reference, nil
	}
}
