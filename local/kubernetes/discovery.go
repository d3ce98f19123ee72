package kubernetes

import (
	"net/http"
	"runtime"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/version"
)

// registerDiscovery serves what kubectl and client-go's discovery ask for first: which API this is.
func registerDiscovery(mux *http.ServeMux) {
	batch := jobResource.version
	inGroup := metav1.GroupVersionForDiscovery{GroupVersion: batch.String(), Version: batch.Version}
	group := metav1.APIGroup{
		Name: batch.Group, Versions: []metav1.GroupVersionForDiscovery{inGroup}, PreferredVersion: inGroup,
	}
	for path, document := range map[string]any{
		"/version": version.Info{
			Major: "1", Minor: "33", GitVersion: "v1.33.5+graf-local",
			GoVersion: runtime.Version(), Compiler: runtime.Compiler, Platform: runtime.GOOS + "/" + runtime.GOARCH,
		},
		"/api":                 metav1.APIVersions{TypeMeta: typeMeta("APIVersions"), Versions: []string{core.Version}},
		"/apis":                metav1.APIGroupList{TypeMeta: typeMeta("APIGroupList"), Groups: []metav1.APIGroup{group}},
		"/apis/" + batch.Group: withType(group),
		apiRoot(core):          resourceList(core),
		apiRoot(batch):         resourceList(batch),
	} {
		mux.HandleFunc("GET "+path, func(w http.ResponseWriter, _ *http.Request) {
			writeJSON(w, http.StatusOK, document)
		})
	}
	for _, path := range []string{"/healthz", "/livez", "/readyz"} {
		mux.HandleFunc("GET "+path, func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("ok")) })
	}
}

func typeMeta(kind string) metav1.TypeMeta { return metav1.TypeMeta{Kind: kind, APIVersion: "v1"} }

func withType(group metav1.APIGroup) metav1.APIGroup {
	group.TypeMeta = typeMeta("APIGroup")
	return group
}

func resourceList(version schema.GroupVersion) metav1.APIResourceList {
	list := metav1.APIResourceList{TypeMeta: typeMeta("APIResourceList"), GroupVersion: version.String()}
	for _, r := range resources {
		if r.version != version {
			continue
		}
		verbs := metav1.Verbs{"create", "delete", "deletecollection", "get", "list", "watch"}
		if r == namespaceResource {
			verbs = metav1.Verbs{"create", "get", "list", "watch"}
		}
		list.APIResources = append(list.APIResources, metav1.APIResource{
			Name: r.name, SingularName: r.singular, Kind: r.kind, Namespaced: r.namespaced,
			ShortNames: r.shortNames, Verbs: verbs,
		})
	}
	list.APIResources = append(list.APIResources, subresources(version)...)
	return list
}

func subresources(version schema.GroupVersion) []metav1.APIResource {
	if version != core {
		return nil
	}
	return []metav1.APIResource{{Name: "pods/log", Kind: "Pod", Namespaced: true, Verbs: metav1.Verbs{"get"}}}
}
