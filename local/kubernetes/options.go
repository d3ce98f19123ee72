package kubernetes

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// Defaults of Options.
const (
	defaultListen   = "127.0.0.1:0"
	defaultMaxPods  = 110 // a kubelet's own default
	defaultLogBytes = 10 << 20
)

// Verbs that Notify is called with.
const (
	VerbAdd    = "add"
	VerbUpdate = "update"
	VerbDelete = "delete"
)

// Notify takes a change of a Job. It is called in order for one Job and concurrently for different ones, again and again
// with growing pauses until it returns nil, also after a restart. A change may be handed over twice when the platform
// dies just after the call; the object's resourceVersion tells.
type Notify func(ctx context.Context, verb string, job *unstructured.Unstructured) error

// Options configure a Cluster. Only DataDir must be set.
type Options struct {
	// DataDir holds the objects, the bearer token and the running pods' folders.
	DataDir string
	// MemoryDir is a memory file system for what pods only read, by default /dev/shm. Where nothing can be written to
	// it, DataDir is used.
	MemoryDir string
	// Listen is the address of the API, by default a free port of the loopback interface.
	Listen string
	// Namespaces exist from the start, next to "default".
	Namespaces []string
	// Notify takes each change of a Job; nil means nobody is told.
	Notify Notify
	// Secrets are the data of Secrets that pods can refer to although there are no such objects: they are kept nowhere.
	Secrets map[string]map[string][]byte
	// MaxPods bounds how many pods run at once; the others are pending. Zero means 110.
	MaxPods int
	// Path is the PATH of the processes, by default the platform's own.
	Path string
	// LogBytes bounds what is kept of one pod's output, the newest first. Zero means 10 MiB.
	LogBytes int64
	Logger   *slog.Logger
}

func (o Options) withDefaults() (Options, error) {
	if o.DataDir == "" {
		return o, errors.New("kubernetes: Options.DataDir is empty; name the folder for the cluster's data")
	}
	folder, err := filepath.Abs(o.DataDir) // processes run in directories of their own
	if err != nil {
		return o, fmt.Errorf("kubernetes: %w", err)
	}
	o.DataDir = folder
	if o.MemoryDir == "" {
		o.MemoryDir = sharedMemory
	}
	if o.Listen == "" {
		o.Listen = defaultListen
	}
	if o.MaxPods <= 0 {
		o.MaxPods = defaultMaxPods
	}
	if o.Path == "" {
		o.Path = os.Getenv("PATH")
	}
	if o.LogBytes <= 0 {
		o.LogBytes = defaultLogBytes
	}
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	return o, nil
}
