"""This machine's registry: the distribution spec's endpoints one by one, and every kind of content."""
import base64
import gzip
import json
import pathlib
import random
import re
import subprocess

from fixture import main
from registry_fixture import OwnRegistryTest
from registries import MANIFEST, RegistryClient, digest_by, digest_of, layer_of

INDEX = "application/vnd.oci.image.index.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar"
EMPTY = "application/vnd.oci.empty.v1+json"
ARTIFACT = "application/vnd.example.one"


class EmbeddedRegistry(OwnRegistryTest):
    prefix = "conformance"

    def check_code(self, answer, status, code):
        self.assertEqual(answer.status, status, answer.body)
        self.assertEqual(json.loads(answer.body)["errors"][0]["code"], code)
        self.assertTrue(json.loads(answer.body)["errors"][0]["message"])

    def check_blob(self, digest, data, repository=None):
        place = f"/v2/{repository or self.repository}/blobs/{digest}"
        head = self.registry("HEAD", place)
        self.assertEqual((head.status, head.getheader("Content-Length"), head.body), (200, str(len(data)), b""))
        got = self.registry("GET", place)
        self.assertEqual((got.status, got.body), (200, data))
        self.assertEqual(got.getheader("Docker-Content-Digest"), digest)

    # ---- the spec, end by end

    def test_end_1_who_may_come_in(self):
        for path in ("/v2/", "/v2"):
            answer = self.registry("GET", path, credentials={})
            self.check_code(answer, 401, "UNAUTHORIZED")
            self.assertEqual(answer.getheader("WWW-Authenticate"), 'Basic realm="wick"')
            self.assertEqual(answer.getheader("Docker-Distribution-API-Version"), "registry/2.0")
        self.assertEqual(self.registry("GET", "/v2/").status, 200)
        self.assertEqual(self.registry("GET", "/v2/", credentials={"Authorization": f"Bearer {self.token}"}).status, 200)
        wrong = {"Authorization": "Basic " + base64.b64encode(b"anyone:wick_0_0").decode()}
        self.check_code(self.registry("GET", "/v2/", credentials=wrong), 401, "UNAUTHORIZED")
        reader = RegistryClient(self.host, self.reader)
        self.assertEqual(reader("GET", "/v2/").status, 200)
        self.check_code(reader("POST", "/v2/some/thing/blobs/uploads/"), 403, "DENIED")
        self.check_code(reader("PUT", "/v2/some/thing/manifests/v1", b"{}"), 403, "DENIED")
        # Over TLS too, on the same port.
        ca = pathlib.Path(self.folder) / "ca.pem"
        ca.write_text(json.loads(self.wick.api("GET", "/apis/wick.dev/v1/info")[1])["authority"])
        done = subprocess.run(["curl", "-sS", "--cacert", str(ca), "-u", "anyone:" + self.token, "-o", "/dev/null", "-w",
                               "%{http_code}", f"https://{self.host}/v2/"], capture_output=True, text=True)
        self.assertEqual(done.stdout, "200", done.stderr)

    def test_end_2_blobs_whole_and_in_part(self):
        data = random.randbytes(2048)
        digest = self.registry.push(self.repository, data)
        self.check_blob(digest, data)
        place = f"/v2/{self.repository}/blobs/{digest}"
        for wanted, first, last in (("500-1499", 500, 1499), ("500-", 500, 2047), ("-500", 1548, 2047), ("2000-5000", 2000, 2047)):
            part = self.registry("GET", place, headers={"Range": "bytes=" + wanted})
            self.assertEqual((part.status, part.body), (206, data[first:last + 1]))
            self.assertEqual(part.getheader("Content-Range"), f"bytes {first}-{last}/2048")
        for wanted in ("500-0", "5000-10000", "-0"):
            self.assertEqual(self.registry("GET", place, headers={"Range": "bytes=" + wanted}).status, 416)
        self.check_code(self.registry("GET", f"/v2/{self.repository}/blobs/{digest_of(b'no')}"), 404, "BLOB_UNKNOWN")
        self.check_code(self.registry("GET", f"/v2/{self.repository}/blobs/sha256:no"), 400, "DIGEST_INVALID")
        self.assertEqual(self.registry("HEAD", f"/v2/{self.repository}-other/blobs/{digest}").status, 404)

    def test_end_4_to_6_every_way_up_by_both_algorithms(self):
        for algorithm in ("sha256", "sha512"):
            def fresh(size=3067):
                data = random.randbytes(size)
                return data, digest_by(algorithm, data)

            uploads = f"/v2/{self.repository}/blobs/uploads/"
            for data in (random.randbytes(512), b"", b"{}"):
                digest = digest_by(algorithm, data)
                answer = self.registry("POST", f"{uploads}?digest={digest}", data)
                self.assertEqual(answer.status, 201, answer.body)
                self.assertEqual(self.registry("GET", answer.getheader("Location")).body, data)
                self.check_blob(digest, data)
            data, digest = fresh()
            self.registry.push(self.repository, data, algorithm)
            self.check_blob(digest, data)
            # Streamed: one PATCH without a range, of no length.
            data, digest = fresh()
            place = self.registry.begin(self.repository, f"?digest-algorithm={algorithm}")
            patched = self.registry("PATCH", place, iter([data[:1000], data[1000:]]),
                                    {"Transfer-Encoding": "chunked", "Content-Type": "application/octet-stream"}, chunked=True)
            self.assertEqual((patched.status, patched.getheader("Range")), (202, "0-3066"))
            put = self.registry("PUT", f"{patched.getheader('Location')}?digest={digest}", b"")
            self.assertEqual(put.status, 201)
            self.check_blob(digest, data)
            # In chunks, each tried out of order first; the last with the PUT.
            data, digest = fresh()
            place = self.registry.begin(self.repository)
            for first in (0, 1024, 2048):
                chunk = data[first:first + 1024]
                last = first + len(chunk) - 1
                skipped = self.registry("PATCH", place, b"x" * 10, {"Content-Range": f"{first + 100}-{first + 109}"})
                self.assertEqual(skipped.status, 416)
                status = self.registry("GET", place)
                self.assertEqual((status.status, status.getheader("Range")), (204, f"0-{max(first - 1, 0)}"))
                method, path = ("PUT", f"{place}?digest={digest}") if last == len(data) - 1 else ("PATCH", place)
                answer = self.registry(method, path, chunk, {"Content-Range": f"{first}-{last}"})
                self.assertEqual(answer.status, 201 if method == "PUT" else 202, answer.body)
            self.check_blob(digest, data)
            # A wrong digest, by each of them.
            data, digest = fresh()
            bad = data + b"oh no"
            self.check_code(self.registry("POST", f"{uploads}?digest={digest}", bad), 400, "DIGEST_INVALID")
            self.check_code(self.registry("PUT", f"{self.registry.begin(self.repository)}?digest={digest}", bad), 400,
                            "DIGEST_INVALID")
            place = self.registry.begin(self.repository)
            self.assertEqual(self.registry("PATCH", place, bad).status, 202)
            self.check_code(self.registry("PUT", f"{place}?digest={digest}", b""), 400, "DIGEST_INVALID")
            self.check_code(self.registry("PUT", f"{place}?digest={digest}", b""), 404, "BLOB_UPLOAD_UNKNOWN")
            self.assertEqual(self.registry("HEAD", f"/v2/{self.repository}/blobs/{digest}").status, 404)

    def test_end_3_7_9_manifests_and_tags(self):
        config, layer = b"{}", random.randbytes(100)
        for data in (config, layer):
            self.registry.push(self.repository, data)
        manifest = json.dumps({"schemaVersion": 2, "mediaType": MANIFEST, "artifactType": ARTIFACT, "config": {
            "mediaType": EMPTY, "digest": digest_of(config), "size": 2}, "layers": [
            {"mediaType": ARTIFACT, "digest": digest_of(layer), "size": 100}]}, indent=3).encode()
        digest = digest_of(manifest)
        place = f"/v2/{self.repository}/manifests/"
        for reference in (digest, "v1"):
            put = self.registry.put(self.repository, reference, manifest)
            self.assertEqual(put.status, 201, put.body)
            self.assertEqual(put.getheader("Docker-Content-Digest"), digest)
            self.assertIsNone(put.getheader("Warning"))
            for found in (put.getheader("Location"), place + reference):
                got = self.registry("GET", found, headers={"Accept": MANIFEST})
                self.assertEqual((got.status, got.body, got.getheader("Content-Type")), (200, manifest, MANIFEST))
                head = self.registry("HEAD", found)
                self.assertEqual((head.status, head.getheader("Content-Length")), (200, str(len(manifest))))
        # Several tags at once, by either algorithm.
        longer = digest_by("sha512", manifest)
        for each, names in ((digest, ("t1", "t2")), (longer, ("t3", "t4"))):
            put = self.registry.put(self.repository, f"{each}?tag={names[0]}&tag={names[1]}", manifest)
            self.assertEqual((put.status, put.headers.get_all("OCI-Tag")), (201, list(names)))
            self.assertEqual(self.registry("GET", place + names[1]).getheader("Docker-Content-Digest"), each)
        self.check_code(self.registry.put(self.repository, digest, manifest + b"  "), 400, "DIGEST_INVALID")
        self.check_code(self.registry.put(self.repository, "sha256:baddigeststring", manifest), 400, "DIGEST_INVALID")
        self.check_code(self.registry.put(self.repository, "v1", b"no json"), 400, "MANIFEST_INVALID")
        self.check_code(self.registry.put(self.repository + "-other", "v1", manifest), 404, "MANIFEST_BLOB_UNKNOWN")
        self.check_code(self.registry.put(self.repository, "v1", b" " * (5 << 20)), 413, "SIZE_INVALID")
        self.check_code(self.registry("GET", place + digest_of(b"no")), 404, "MANIFEST_UNKNOWN")
        self.check_code(self.registry("GET", place + "none"), 404, "MANIFEST_UNKNOWN")
        # A manifest of almost 4 MB.
        large = json.loads(manifest)
        large["annotations"] = {f"large-{i}": "A" * 10_000 for i in range(390)}
        self.assertEqual(self.registry.put(self.repository, "large", json.dumps(large).encode()).status, 201)
        # A tag goes alone, a manifest with its tags.
        self.assertEqual(self.registry("DELETE", place + "t1").status, 202)
        self.check_code(self.registry("DELETE", place + "t1"), 404, "MANIFEST_UNKNOWN")
        self.assertEqual(self.registry("HEAD", place + "t2").status, 200)
        self.assertEqual(self.registry("DELETE", place + digest).status, 202)
        for reference in (digest, "v1", "t2"):
            self.assertEqual(self.registry("HEAD", place + reference).status, 404)
        self.assertEqual(self.registry("HEAD", place + "t3").status, 200)

    def test_end_8_tags_by_pages(self):
        self.check_code(self.registry("GET", f"/v2/{self.repository}/tags/list"), 404, "NAME_UNKNOWN")
        self.registry.push(self.repository, b"{}")
        manifest = json.dumps({"schemaVersion": 2, "config": {"mediaType": EMPTY, "digest": digest_of(b"{}"), "size": 2},
                               "layers": []}).encode()
        names = sorted(f"tag-{i}" for i in range(25))
        for name in random.sample(names, len(names)):
            self.assertEqual(self.registry.put(self.repository, name, manifest).status, 201)
        whole = json.loads(self.registry("GET", f"/v2/{self.repository}/tags/list").body)
        self.assertEqual(whole, {"name": self.repository, "tags": names})
        found, next_page = [], f"/v2/{self.repository}/tags/list?n=10"
        while next_page:
            page = self.registry("GET", next_page)
            found.append(json.loads(page.body)["tags"])
            link = re.fullmatch('<(.*)>; rel="next"', page.getheader("Link", ""))
            next_page = link and link.group(1)
        self.assertEqual([len(page) for page in found], [10, 10, 5])
        self.assertEqual(sum(found, []), names)
        after = json.loads(self.registry("GET", f"/v2/{self.repository}/tags/list?last={names[11]}").body)["tags"]
        self.assertEqual(after, names[12:])
        self.assertEqual(json.loads(self.registry("GET", f"/v2/{self.repository}/tags/list?n=0").body)["tags"], [])

    def test_end_10_11_blobs_are_mounted_and_deleted(self):
        source = self.repository + "-source"
        data = random.randbytes(512)
        digest = self.registry.push(source, data)
        uploads = f"/v2/{self.repository}/blobs/uploads/?mount={digest}"
        mounted = self.registry("POST", f"{uploads}&from={source}")
        self.assertEqual(mounted.status, 201)
        self.assertEqual(self.registry("GET", mounted.getheader("Location")).body, data)
        self.assertEqual(self.registry("DELETE", f"/v2/{self.repository}/blobs/{digest}").status, 202)
        self.assertEqual(self.registry("HEAD", f"/v2/{self.repository}/blobs/{digest}").status, 404)
        self.assertEqual(self.registry("POST", uploads).status, 201)  # from whoever has it
        missing = self.registry("POST", f"/v2/{self.repository}/blobs/uploads/?mount={digest_of(b'no')}&from={source}")
        self.assertEqual(missing.status, 202)
        self.assertIn("/blobs/uploads/", missing.getheader("Location"))
        self.check_code(self.registry("DELETE", f"/v2/{self.repository}/blobs/{digest_of(b'no')}"), 404, "BLOB_UNKNOWN")

    def test_end_12_referrers(self):
        empty = self.registry("GET", f"/v2/{self.repository}/referrers/{digest_of(b'nothing')}")
        self.assertEqual((empty.status, empty.getheader("Content-Type")), (200, INDEX))
        self.assertEqual(json.loads(empty.body), {"schemaVersion": 2, "mediaType": INDEX, "manifests": []})
        self.registry.push(self.repository, b"{}")
        subject = {"mediaType": MANIFEST, "digest": digest_of(b"missing content"), "size": 123}
        goal = {}
        for number, kind in enumerate((ARTIFACT, ARTIFACT, "application/vnd.example.two")):
            manifest = json.dumps({"schemaVersion": 2, "mediaType": MANIFEST, "artifactType": kind, "config": {
                "mediaType": EMPTY, "digest": digest_of(b"{}"), "size": 2}, "layers": [], "subject": subject,
                "annotations": {"number": str(number)}}).encode()
            put = self.registry.put(self.repository, digest_of(manifest), manifest)
            self.assertEqual((put.status, put.getheader("OCI-Subject")), (201, subject["digest"]))
            goal[digest_of(manifest)] = {"mediaType": MANIFEST, "digest": digest_of(manifest), "size": len(manifest),
                                         "artifactType": kind, "annotations": {"number": str(number)}}
        index = json.dumps({"schemaVersion": 2, "mediaType": INDEX, "artifactType": ARTIFACT, "manifests": [],
                            "subject": subject}).encode()
        put = self.registry.put(self.repository, "index", index, INDEX)
        self.assertEqual((put.status, put.getheader("OCI-Subject")), (201, subject["digest"]))
        goal[digest_of(index)] = {"mediaType": INDEX, "digest": digest_of(index), "size": len(index), "artifactType": ARTIFACT}
        place = f"/v2/{self.repository}/referrers/{subject['digest']}"
        found = json.loads(self.registry("GET", place).body)["manifests"]
        self.assertEqual({each["digest"]: each for each in found}, goal)
        filtered = self.registry("GET", place + "?artifactType=" + ARTIFACT.replace("/", "%2F"))
        self.assertEqual(filtered.getheader("OCI-Filters-Applied"), "artifactType")
        self.assertEqual({each["digest"] for each in json.loads(filtered.body)["manifests"]},
                         {digest for digest, each in goal.items() if each["artifactType"] == ARTIFACT})
        gone = next(iter(goal))
        self.assertEqual(self.registry("DELETE", f"/v2/{self.repository}/manifests/{gone}").status, 202)
        self.assertNotIn(gone, self.registry("GET", place).body.decode())

    def test_end_13_an_upload_is_looked_at_and_cancelled(self):
        place = self.registry.begin(self.repository)
        self.assertEqual(self.registry("DELETE", place).status, 204)
        self.check_code(self.registry("GET", place), 404, "BLOB_UPLOAD_UNKNOWN")
        self.check_code(self.registry("PATCH", place, b"x"), 404, "BLOB_UPLOAD_UNKNOWN")

    def test_what_is_named_wrong_is_said(self):
        for path, code in (("/v2/UPPER/tags/list", "NAME_INVALID"), ("/v2/a..b/manifests/v1", "NAME_INVALID"),
                           ("/v2/a/manifests/sha256:bad", "DIGEST_INVALID"), ("/v2/%2e%2e%2fx/tags/list", "NAME_INVALID")):
            self.check_code(self.registry("GET", path), 400, code)
        self.check_code(self.registry("GET", "/v2/a/nothing"), 404, "UNSUPPORTED")
        self.check_code(self.registry("PATCH", "/v2/a/manifests/v1", b"{}"), 405, "UNSUPPORTED")

    # ---- every kind of content, as the conformance program has it

    def contents(self, algorithm):
        """(name, blobs, [(manifest, media type)], tag): what is pushed in this order."""
        def descriptor(content, media_type, **more):
            return {"mediaType": media_type, "digest": digest_by(algorithm, content), "size": len(content), **more}

        def image(architecture="amd64", layers=2, compressed=True, **more):
            tars = [layer_of({f"file-{i}": random.randbytes(50)}) for i in range(layers)]
            packed = [gzip.compress(tar) if compressed else tar for tar in tars]
            config = json.dumps({"architecture": architecture, "os": "linux", "rootfs": {
                "type": "layers", "diff_ids": [digest_by(algorithm, tar) for tar in tars]}}).encode()
            manifest = {"schemaVersion": 2, "mediaType": MANIFEST, "config": descriptor(config, CONFIG), "layers": [
                descriptor(data, LAYER + ("+gzip" if compressed else "")) for data in packed], **more}
            return json.dumps(manifest).encode(), [config, *packed]

        def artifact(**more):
            data = random.randbytes(64)
            manifest = {"schemaVersion": 2, "mediaType": MANIFEST, "artifactType": ARTIFACT, "config": descriptor(b"{}", EMPTY),
                        "layers": [descriptor(data, ARTIFACT)], **more}
            return json.dumps(manifest).encode(), [b"{}", data]

        def index(*children, platforms=("amd64", "arm64"), media_type=MANIFEST, **more):
            entries = [descriptor(child, media_type, **({"platform": {"os": "linux", "architecture": platform}} if platform else {}))
                       for child, platform in zip(children, platforms)]
            return json.dumps({"schemaVersion": 2, "mediaType": INDEX, "manifests": entries, **more}).encode()

        def several(*parts):
            return [data for _, blobs in parts for data in blobs], [(manifest, MANIFEST) for manifest, _ in parts]

        for name, made in (("image", image()), ("uncompressed", image(compressed=False)), ("no-layers", image(layers=0)),
                           ("custom-field", image(custom={"a": [1, None]})), ("artifact", artifact())):
            blobs, manifests = several(made)
            yield name, blobs, manifests
        blobs, manifests = several(image(), image("arm64"))
        yield "index", blobs, [*manifests, (index(*(each for each, _ in manifests)), INDEX)]
        blobs, manifests = several(image(), image("arm64"))
        inner = index(*(each for each, _ in manifests))
        yield "nested-index", blobs, [*manifests, (inner, INDEX), (index(inner, platforms=(None,), media_type=INDEX), INDEX)]
        yield "empty-index", [], [(index(), INDEX)]
        blobs, manifests = several(artifact(), artifact())
        yield "artifact-index", blobs, [*manifests, (index(*(each for each, _ in manifests), artifactType=ARTIFACT), INDEX)]
        subject, subject_blobs = image()
        referrer, referrer_blobs = artifact(subject=descriptor(subject, MANIFEST))
        yield "subject", subject_blobs + referrer_blobs, [(subject, MANIFEST), (referrer, MANIFEST)]
        data = random.randbytes(30)
        inlined = image(extra=descriptor(data, "a/b", data=base64.b64encode(data).decode()))
        yield "data-field", inlined[1], [(inlined[0], MANIFEST)]
        elsewhere, blobs = image(layers=1)
        elsewhere = json.loads(elsewhere)
        elsewhere["layers"] += [descriptor(random.randbytes(9), f"application/vnd.oci.image.layer.nondistributable.v1.tar{kind}",
                                           urls=["https://store.example.com/x"]) for kind in ("", "+gzip")]
        yield "non-distributable", blobs, [(json.dumps(elsewhere).encode(), MANIFEST)]

    def test_every_kind_of_content_comes_back_as_it_was_pushed(self):
        for algorithm in ("sha256", "sha512"):
            for name, blobs, manifests in self.contents(algorithm):
                with self.subTest(name, algorithm=algorithm):
                    for data in blobs:
                        self.registry.push(self.repository, data, algorithm)
                    tag = f"{name}-{algorithm}"
                    for manifest, media_type in manifests:
                        put = self.registry.put(self.repository, digest_by(algorithm, manifest), manifest, media_type)
                        self.assertEqual(put.status, 201, put.body)
                    last, media_type = manifests[-1]
                    put = self.registry.put(self.repository, f"{digest_by(algorithm, last)}?tag={tag}", last, media_type)
                    self.assertEqual(put.status, 201, put.body)
                    for manifest, media_type in manifests:
                        got = self.registry("GET", f"/v2/{self.repository}/manifests/{digest_by(algorithm, manifest)}")
                        self.assertEqual((got.status, got.body, got.getheader("Content-Type")), (200, manifest, media_type))
                    self.assertEqual(self.registry("GET", f"/v2/{self.repository}/manifests/{tag}").body, last)
                    for data in blobs:
                        self.check_blob(digest_by(algorithm, data), data)
                    tags = json.loads(self.registry("GET", f"/v2/{self.repository}/tags/list").body)["tags"]
                    self.assertIn(tag, tags)
                    self.assertEqual(self.registry("DELETE", f"/v2/{self.repository}/manifests/{tag}").status, 202)
                    for manifest, _ in reversed(manifests):
                        place = f"/v2/{self.repository}/manifests/{digest_by(algorithm, manifest)}"
                        self.assertEqual(self.registry("DELETE", place).status, 202)
                        self.assertEqual(self.registry("HEAD", place).status, 404)
                    for data in set(blobs):
                        place = f"/v2/{self.repository}/blobs/{digest_by(algorithm, data)}"
                        self.assertEqual(self.registry("DELETE", place).status, 202)
                        self.assertEqual(self.registry("HEAD", place).status, 404)


if __name__ == "__main__":
    main()
