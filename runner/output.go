package runner

import (
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"github.com/graf-run/graf/runner/agent"
	"github.com/graf-run/graf/runner/lines"
	"github.com/graf-run/graf/runner/mask"
)

const (
	// maxLine bounds a line of a log, maxEvent one of an agent that tells events: the
	// output of a command may be in it.
	maxLine  = 256 << 10
	maxEvent = 4 << 20
	// Lines of the log are gathered into events of about this size, at least so often.
	logSize  = 32 << 10
	logEvery = time.Second
)

// output is what is done with an agent's standard output and error.
type output struct {
	mask *mask.Mask
	// copyTo gets all of it, for the container's own log.
	mu     sync.Mutex
	copyTo io.Writer
	log    *logs
	// failed is the first error of writing or reading, which does not stop the agent.
	failed error
}

// read handles one stream until its end; isJSON says that an agent tells events in it.
func (o *output) read(from io.Reader, isJSON bool, each func(line string)) {
	most, masked := maxLine, o.mask.Stream(isJSON)
	if isJSON {
		most = maxEvent
	}
	err := lines.Read(from, most, func(line string, leftOut int) {
		line = masked.Line(line)
		if leftOut > 0 {
			line = o.mask.WithoutPart(line)
			line += fmt.Sprintf(" … %d bytes left out", leftOut)
		}
		o.mu.Lock()
		_, err := io.WriteString(o.copyTo, line+"\n")
		if err != nil && o.failed == nil {
			o.failed = err
		}
		o.mu.Unlock()
		each(line)
	})
	if err != nil {
		o.mu.Lock()
		defer o.mu.Unlock()
		o.failed = err
	}
}

// logs gathers lines into events.
type logs struct {
	mu     sync.Mutex
	text   map[string]*strings.Builder
	report func(kind string, content any)
	stop   chan struct{}
	done   sync.WaitGroup
}

func newLogs(report func(kind string, content any)) *logs {
	l := &logs{text: map[string]*strings.Builder{}, report: report, stop: make(chan struct{})}
	l.done.Go(func() {
		ticker := time.NewTicker(logEvery)
		defer ticker.Stop()
		for {
			select {
			case <-l.stop:
				return
			case <-ticker.C:
				l.flush()
			}
		}
	})
	return l
}

// add appends a line of a stream.
func (l *logs) add(stream, line string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	text := l.text[stream]
	if text == nil {
		text = &strings.Builder{}
		l.text[stream] = text
	}
	if len(line) > logSize {
		line = strings.ToValidUTF8(line[:logSize], "") + " …"
	}
	// Before and not after: an event must not become larger than Graf takes it.
	if text.Len()+len(line) > logSize {
		l.emit(stream, text)
	}
	text.WriteString(line)
	text.WriteByte('\n')
}

func (l *logs) flush() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for stream, text := range l.text {
		l.emit(stream, text)
	}
}

func (l *logs) emit(stream string, text *strings.Builder) {
	if text.Len() == 0 {
		return
	}
	l.report(agent.Log, map[string]any{"stream": stream, "text": strings.TrimSuffix(text.String(), "\n")})
	text.Reset()
}

// close reports what is left.
func (l *logs) close() {
	close(l.stop)
	l.done.Wait()
	l.flush()
}
