// The page of `hpc view`: three.js and the glTF file come packed in the page, as base64 of gzip.
const embedded = window !== window.top;

function packed(id) {
  const text = atob(find(id).textContent.trim());
  const bytes = Uint8Array.from(text, character => character.charCodeAt(0));
  return new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
}

async function loadLibrary() {
  const script = document.createElement("script");
  script.src = URL.createObjectURL(new Blob([await new Response(packed("#three")).arrayBuffer()], {type: "text/javascript"}));
  await new Promise((done, failed) => { script.onload = done; script.onerror = failed; document.head.append(script); });
}

// Adds soft dark discs on the ground below the joints, smaller and darker the closer a joint is to it.
function contactShadows(scene, people) {
  const canvas = document.createElement("canvas"), size = canvas.width = canvas.height = 64, middle = size / 2;
  const context = canvas.getContext("2d"), fade = context.createRadialGradient(middle, middle, 0, middle, middle, middle);
  for (const at of [0, 0.25, 0.5, 0.75, 1]) fade.addColorStop(at, `rgba(0,0,0,${(Math.cos(Math.PI * at) + 1) / 2})`);
  context.fillStyle = fade;
  context.fillRect(0, 0, size, size);
  const map = new THREE.CanvasTexture(canvas), plane = new THREE.PlaneGeometry().rotateX(-Math.PI / 2), joints = [];
  const bodies = new Map();  // one mesh of each skeleton: clothes beside a body share it
  people.traverse(mesh => { if (mesh.skeleton && !bodies.has(mesh.skeleton)) bodies.set(mesh.skeleton, mesh); });
  const isBelowWrist = bone => bone.parent.isBone && (/wrist/.test(bone.parent.name) || isBelowWrist(bone.parent));
  bodies.forEach(mesh => mesh.skeleton.bones.filter(bone => !isBelowWrist(bone)).forEach(bone => {
    const disc = new THREE.Mesh(plane, new THREE.MeshBasicMaterial({map, depthWrite: false}));
    Object.assign(disc.material, {blending: THREE.CustomBlending, blendSrcAlpha: THREE.OneFactor});
    disc.renderOrder = -1;  // before the bodies, which hide it where a sole is below the ground
    joints.push([bone, mesh, disc]);
    scene.add(disc);
  }));
  const at = new THREE.Vector3();
  return visible => {
    for (const [bone, mesh, disc] of joints) {
      const height = Math.max(0, bone.getWorldPosition(at).y);
      disc.position.set(at.x, 0, at.z);
      disc.scale.setScalar(0.3 + height);
      disc.material.opacity = 0.3 / (1 + (height / 0.25) ** 2);
      // A person who is not in this frame has the scale 0.
      disc.visible = visible && mesh.visible && bone.matrixWorld.determinant() > 0;
    }
  };
}

async function main() {
  await loadLibrary();
  const stage = find("#stage"), loop = find("#loop");
  const renderer = new THREE.WebGLRenderer({antialias: true, alpha: true, preserveDrawingBuffer: true});
  stage.append(renderer.domElement);
  const loader = new THREE.GLTFLoader();
  const gltf = await loader.parseAsync(await new Response(packed("#people3d")).arrayBuffer(), "");
  const scene = new THREE.Scene();
  scene.add(gltf.scene);
  gltf.scene.traverse(node => {
    node.frustumCulled = false;  // bounds at rest say nothing about posed skins
    // A photograph's light is in its colours already.
    if (node.material?.map) node.material = new THREE.MeshBasicMaterial({map: node.material.map, side: node.material.side});
  });
  scene.add(new THREE.HemisphereLight(0xffffff, 0x777788, 2.2));
  const lamp = new THREE.DirectionalLight(0xffffff, 1.6);
  lamp.position.set(1, 2, 3);
  scene.add(lamp);
  const drawShadows = contactShadows(scene, gltf.scene);
  const reach = Math.ceil(4 * data.radius);  // metres; it ends before the camera: lines that pass it are not drawn everywhere
  const grid = new THREE.GridHelper(reach, 2 * reach, 0x808890, 0x808890);
  grid.material.transparent = true;
  grid.material.opacity = 0.35;
  grid.position.set(data.target[0], 0, data.target[2]);
  scene.add(grid);
  // Of a camera that walks: points of the background, and its path.
  const surroundings = new THREE.Group(), geometry = at => new THREE.BufferGeometry().setFromPoints(at.map(p => new THREE.Vector3(...p)));
  if (data.background) {
    surroundings.add(new THREE.Points(geometry(data.background), new THREE.PointsMaterial({color: 0x5b6b7f, size: 0.04})));
    surroundings.add(new THREE.Line(geometry(data.walk), new THREE.LineBasicMaterial({color: 0xd9822b})));
  }
  scene.add(surroundings);

  const around = new THREE.PerspectiveCamera(45, 1, 0.01, 200);
  const controls = new THREE.OrbitControls(around, renderer.domElement);
  function home() {
    const {path, width, height} = data.person, slope = Math.tan(around.fov * Math.PI / 360);
    const away = width / 2 + Math.max(height, width / around.aspect) / slope;
    controls.target.set(...path[frame]);
    around.position.set(0.4, 0.35, 0.85).multiplyScalar(away).add(controls.target);
    controls.update();
  }
  function follow(from, to) {  // the person, who may walk out of the view
    const step = new THREE.Vector3(...data.person.path[to]).sub(new THREE.Vector3(...data.person.path[from]));
    around.position.add(step);
    controls.target.add(step);
  }
  const mixer = new THREE.AnimationMixer(gltf.scene);
  const actions = gltf.animations.map(clip => mixer.clipAction(clip).play());
  let frame = 0, through = false;
  let number = 0, video = null;  // of the camera, and its frames if they are a video
  const words = location.hash.slice(1).split(",");
  loop.checked = words.includes("play");

  // The camera of the frame, with its zoom and principal point, which glTF's camera does not know.
  function aim() {
    const {size: [width, height], centre, focal} = data.cameras[number], [x, y] = centre[frame];
    const recorded = gltf.cameras[number];
    recorded.fov = 2 * Math.atan(height / (2 * focal[frame])) * 180 / Math.PI;
    recorded.aspect = width / height;
    recorded.setViewOffset(width, height, width / 2 - x, height / 2 - y, width, height);
    recorded.updateProjectionMatrix();
  }
  function draw() {
    grid.visible = surroundings.visible = !through;
    drawShadows(!through);
    if (through) aim();
    renderer.render(scene, through ? gltf.cameras[number] : around);
  }
  const timeline = timelineOf(data.names, (next, previous) => {
    follow(previous, next);
    frame = next;
    for (const action of actions) action.time = data.times[frame];
    mixer.update(0);
    document.body.dataset.frame = frame;
    draw();
  }, () => video);
  function fit() {
    const box = stage.getBoundingClientRect(), [across, up] = data.cameras[number].size, shape = across / up;
    let [width, height] = [box.width, box.height];
    if (through) [width, height] = width / height > shape ? [height * shape, height] : [width, width / shape];
    renderer.setPixelRatio(Math.min(window.devicePixelRatio, 2));
    renderer.setSize(width, height);
    around.aspect = width / height;
    around.updateProjectionMatrix();
    // Where the page, or the one that it is part of, can be scrolled, fingers that move up and down scroll it.
    const scrolls = embedded || document.documentElement.scrollHeight > window.innerHeight;
    renderer.domElement.style.touchAction = through ? "auto" : scrolls ? "pan-y" : "none";
    draw();
  }
  function look(throughCamera) {
    through = throughCamera;
    controls.enabled = !through;
    document.body.classList.toggle("through", through);
    find("#view").textContent = through ? "Look around" : "Through the camera";
    fit();
  }
  function choose(camera) {
    const playing = timeline.run(false);
    number = camera;
    document.querySelectorAll("#frames > *").forEach(each => { each.hidden = +each.dataset.camera !== number; });
    video = find(`video[data-camera="${number}"]`);
    timeline.show(frame);
    fit();
    timeline.run(playing);
  }
  for (const person of data.people) {  // GLTFLoader drops the dot of personN.body
    find(`#person${person.track}`).onchange = event => {
      const {skeleton} = gltf.scene.getObjectByName(`person${person.track}body`);
      gltf.scene.traverse(mesh => { if (mesh.skeleton === skeleton) mesh.visible = event.target.checked; });
      draw();
    };
  }
  find("#view").onclick = () => look(!through);
  if (data.cameras.length > 1) find("#camera").onchange = event => choose(+event.target.value);
  find("#home").onclick = () => { look(false); home(); draw(); };
  controls.addEventListener("change", draw);
  // Part of another page, the wheel scrolls that page until this one is clicked.
  stage.addEventListener("wheel", event => { if (embedded && !document.hasFocus()) event.stopPropagation(); }, true);
  new ResizeObserver(fit).observe(stage);
  choose(0);
  timeline.show(data.person.first);
  home();
  document.body.dataset.ready = gltf.scene.children.length;
  if (words.includes("through")) look(true);
  if (loop.checked && data.count > 1) timeline.run(true);
}

main().catch(error => { find("#stage").textContent = `This page cannot be shown: ${error.message ?? error}`; });
