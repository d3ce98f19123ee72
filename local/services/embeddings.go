package services

import (
	"context"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"

	"github.com/graf-run/graf/local/embeddings"
)

// addEmbeddings makes the offline model's program a child of this process.
func (s *Set) addEmbeddings(config Config, report func(error)) error {
	port, err := config.port(config.EmbeddingsPort)
	if err != nil {
		return err
	}
	listen := address(config.host(), port)
	s.Embeddings = &process{
		name:         "the embedding model",
		folder:       filepath.Join(s.folder, "embeddings"),
		address:      listen,
		portVariable: portOfEmbeddings,
		stopSignal:   syscall.SIGTERM,
		command: func() *exec.Cmd {
			cmd := exec.Command(config.Embeddings, "--listen", listen) //nolint:noctx // it outlives its start's context; Stop ends it
			// HOME and XDG_CACHE_HOME are where its weights are found.
			cmd.Env = environment("HOME="+os.Getenv("HOME"), "XDG_CACHE_HOME="+os.Getenv("XDG_CACHE_HOME"))
			return cmd
		},
		probe:  func(ctx context.Context) error { return get(ctx, http.DefaultClient, "http://"+listen+"/v1/models") },
		report: report,
	}
	s.embeddingsURL = "http://" + listen + "/v1"
	return nil
}

// EmbeddingsEnvironment gives the offline model as the settings of functions that
// use it, NAME=value; nil when it is not served.
func (s *Set) EmbeddingsEnvironment() []string {
	if s.Embeddings == nil {
		return nil
	}
	return []string{
		"OPENAI_BASE_URL=" + s.embeddingsURL,
		"OPENAI_API_KEY=offline",
		"OPENAI_EMBEDDING_MODEL=" + embeddings.ModelName,
		"OPENAI_EMBEDDING_DIMENSION=" + strconv.Itoa(embeddings.Dimension),
	}
}
