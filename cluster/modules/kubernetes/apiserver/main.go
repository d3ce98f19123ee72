// Command apiserver is the API server of Kubernetes and the etcd that it keeps
// its objects in, in one binary, whose first argument chooses: apiserver etcd …,
// apiserver kube-apiserver …. Tests run them; a cluster runs the program in the
// folder above, which takes the same arguments.
package main

import (
	"fmt"
	"os"

	"go.etcd.io/etcd/server/v3/etcdmain"
	"k8s.io/component-base/cli"
	_ "k8s.io/component-base/logs/json/register" // --logging-format=json
	"k8s.io/kubernetes/cmd/kube-apiserver/app"
)

func main() {
	component := ""
	if len(os.Args) > 1 {
		// Both parse os.Args as if they had been started by their own name.
		component, os.Args = os.Args[1], os.Args[1:]
	}
	switch component {
	case "etcd":
		etcdmain.Main(os.Args)
	case "kube-apiserver":
		os.Exit(cli.Run(app.NewAPIServerCommand()))
	default:
		fmt.Fprintln(os.Stderr, "usage: apiserver COMPONENT [FLAG…], where COMPONENT is one of etcd, kube-apiserver")
		os.Exit(2)
	}
}
