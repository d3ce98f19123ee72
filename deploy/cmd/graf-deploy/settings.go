package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// namespace is Graf's.
const namespace = "graf"

// settings are what the user chose.
type settings struct {
	// root is the folder of the workspace.
	root string
	// own says that the cluster is the one of make cluster.
	own bool
	// overlay is the folder of the kustomize overlay.
	overlay string
	// registry is where images are pushed; empty where they are loaded.
	registry string
	// servers is the file in which the node's servers say how they are reached.
	servers string
	// config are settings of ConfigMap graf-config, over those of the overlay.
	config map[string]string
	// funcProgram is knative.dev/func's.
	funcProgram string
}

func settingsFromEnvironment() settings {
	s := settings{
		root:     ".",
		own:      os.Getenv("KUBECONFIG") == "" && os.Getenv("GRAF_KUBE_CONTEXT") == "",
		overlay:  os.Getenv("GRAF_OVERLAY"),
		registry: os.Getenv("GRAF_IMAGE_REGISTRY"),
		config:   map[string]string{},
	}
	if s.overlay == "" {
		s.overlay = "deploy/overlays/production"
		if s.own {
			s.overlay = localOverlay
		}
	}
	for _, setting := range strings.Fields(os.Getenv("GRAF_SETTINGS")) {
		name, value, _ := strings.Cut(setting, "=")
		s.config[name] = value
	}
	// As cluster/lib/settings.sh has them.
	netns := orDefault(os.Getenv("GRAF_CLUSTER_NETNS"), "graf")
	s.servers = filepath.Join(orDefault(os.Getenv("GRAF_CLUSTER_STATE"), "/var/lib/"+netns+"-cluster"), "services.env")
	return s
}

// localOverlay uses the servers on the node, and so does that of the end-to-end
// tests, which is made of it.
const (
	localOverlay = "deploy/overlays/local"
	testsOverlay = "deploy/overlays/e2e"
)

// usesNode says whether the node's servers are used.
func (s settings) usesNode() bool {
	return slices.Contains([]string{localOverlay, testsOverlay}, filepath.Clean(s.overlay))
}

func orDefault(value, fallback string) string {
	if value == "" {
		return fallback
	}
	return value
}
